package query

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/config-api/config-api/shared/api"
)

// routesV2 registers what v2 reads.
func (s *Service) routesV2(e *echo.Echo) {
	e.GET("/v2/namespaces", s.namespaces)
	namespace := e.Group("/v2/namespaces/:namespace")
	namespace.GET("/configs", s.listConfigs)
	namespace.GET("/configs/:name", s.getConfig)
	namespace.GET("/configs/:name/history", s.history)
	namespace.GET("/diff", s.diff)
	s.metrics.Streams(namespace.GET("/watch", s.watch))
	namespace.GET("/schemas", s.listSchemas)
	namespace.GET("/schemas/:pattern", s.getSchema)
	e.GET("/v2/audit", s.audit)
	e.GET("/v2/position", s.positionOf)
	e.GET("/openapi.yaml", func(c echo.Context) error { return c.Blob(http.StatusOK, "application/yaml", api.OpenAPI) })
	e.GET("/asyncapi.yaml", func(c echo.Context) error { return c.Blob(http.StatusOK, "application/yaml", api.AsyncAPI) })
}
