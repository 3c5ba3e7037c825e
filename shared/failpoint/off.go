//go:build !failpoints

// Package failpoint lets a crash test kill a program at a named place of its
// code. In a program that is built without the tag failpoints there is nothing
// of it.
package failpoint

// Hit is where the program may be killed.
func Hit(string) {}
