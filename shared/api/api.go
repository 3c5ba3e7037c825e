// Package api holds the documents that describe the interfaces. The services
// serve them, and tests hold real answers against them.
package api

import _ "embed"

// OpenAPI is the OpenAPI 3.1 document of the HTTP interface.
//
//go:embed openapi.yaml
var OpenAPI []byte

// AsyncAPI is the AsyncAPI 3.0 document of the NATS interface.
//
//go:embed asyncapi.yaml
var AsyncAPI []byte
