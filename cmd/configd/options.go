package main

import (
	"os"
	"runtime"

	"github.com/config-api/config-api/shared/service"
	"github.com/config-api/config-api/shared/tracing"
)

// options are configd's start-up parameters.
type options struct {
	listen      string
	dataDir     string
	databaseURL string
	natsURL     string
	natsListen  string
	logValues   bool
	log         service.LogOptions
	admin       service.AdminOptions
	tracing     tracing.Options
}

func (o *options) bind(b *service.Options) {
	dataDir := defaultDataDir(runtime.GOOS, os.Geteuid(), os.Getenv)
	b.String(&o.listen, "listen", "127.0.0.1:4000", "address of the HTTP API")
	b.String(&o.dataDir, "data-dir", dataDir, "directory that holds all data")
	b.String(&o.databaseURL, "database-url", "", "Postgres to use, instead of one of its own", service.Secret)
	b.String(&o.natsURL, "nats-url", "", "NATS to use, instead of the embedded one", service.Secret)
	b.String(&o.natsListen, "nats-listen", "", "address of the embedded NATS; if not given, "+natsDefaultListen+", or a free port when that is taken")
	b.Bool(&o.logValues, "log-values", true, "show values in the change log")
	o.log.Bind(b, "text")
	o.admin.Bind(b)
	service.BindTracing(&o.tracing, b)
}
