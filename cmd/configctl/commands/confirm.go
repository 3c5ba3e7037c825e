package commands

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
)

// errDeclined means that a person said no.
var errDeclined = errors.New("nothing was done")

// confirm asks a person, who is at a terminal, or wants --yes.
func (c *cli) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	if !isTerminal(c.In) {
		return usagef("there is no terminal to ask on: say --yes if you mean it")
	}
	fmt.Fprintf(c.Err, "%s [y/N] ", question)
	line, _ := bufio.NewReader(c.In).ReadString('\n') // the end of the input is a no
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return errDeclined
}
