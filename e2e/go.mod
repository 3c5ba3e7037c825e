module github.com/config-api/config-api/e2e

go 1.26.0

require github.com/config-api/config-api/shared v0.0.0

replace github.com/config-api/config-api/shared => ../shared
