module github.com/config-api/config-api/cmd

go 1.26.0

require github.com/config-api/config-api/shared v0.0.0

replace github.com/config-api/config-api/shared => ../shared

replace github.com/config-api/config-api/services/command => ../services/command

replace github.com/config-api/config-api/services/projector => ../services/projector

replace github.com/config-api/config-api/services/query => ../services/query
