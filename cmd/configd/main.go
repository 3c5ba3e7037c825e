// Command configd is all of Config API in one process, for a laptop or a small
// machine: the three services, a NATS server in the process and a private
// Postgres beside it, on one port and one data directory.
package main

import "github.com/config-api/config-api/shared/service"

func main() { service.Main(run) }
