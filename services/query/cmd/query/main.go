// Command query is the query service as a process of its own.
package main

import (
	"github.com/config-api/config-api/services/query"
	"github.com/config-api/config-api/shared/service"
)

func main() { service.Main(query.Run) }
