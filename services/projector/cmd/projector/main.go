// Command projector is the projector as a process of its own.
package main

import (
	"github.com/config-api/config-api/services/projector"
	"github.com/config-api/config-api/shared/service"
)

func main() { service.Main(projector.Run) }
