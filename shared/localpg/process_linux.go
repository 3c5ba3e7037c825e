package localpg

import "syscall"

// dieWithParent makes the kernel stop the server when this process dies, even
// by SIGKILL: at once, as after a power cut, which its next start repairs.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGQUIT }
