// Command command is the command service as a process of its own.
package main

import (
	"github.com/config-api/config-api/services/command"
	"github.com/config-api/config-api/shared/service"
)

func main() { service.Main(command.Run) }
