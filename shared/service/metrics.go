package service

import (
	"net/http"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/labstack/echo/v4"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/config-api/config-api/shared/stats"
)

// metricsRoute is where Prometheus reads.
const metricsRoute = "/metrics"

// Metrics are the figures of one service: for Prometheus under /metrics, as JSON
// under /v2/stats. A service describes each once, with a func or a histogram of
// its own that is read when somebody asks; nothing but this package knows of
// Prometheus. Several services of one process have one each: what they share is
// told apart by the label service.
type Metrics struct {
	service  string
	began    time.Time
	registry *prometheus.Registry // never the default one: it is one for a process
	requests *requests
	figures  []figure
	timings  []timing
}

// figure is a number that /v2/stats shows.
type figure struct {
	name string
	read func() float64
}

// timing is a histogram of durations that /v2/stats shows.
type timing struct {
	name string
	each func(func(part string, h *stats.Histogram))
}

// NewMetrics returns the metrics of a service, with those that every service has.
func NewMetrics(service string) *Metrics {
	m := &Metrics{service: service, began: time.Now(), registry: prometheus.NewRegistry()}
	m.requests = newRequests(m)
	m.registry.MustRegister(m.requests)
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: namespace + "build_info", Help: "Always 1; its labels are the program's version and that of Go.",
		ConstLabels: prometheus.Labels{"service": service, "version": Version(), "go_version": runtime.Version()},
	}, func() float64 { return 1 }))
	return m
}

// namespace begins the name of every metric of ours.
const namespace = "config_api_"

func (m *Metrics) desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(namespace+name, help, labels, prometheus.Labels{"service": m.service})
}

// Gauge describes a number that goes up and down.
func (m *Metrics) Gauge(name, help string, read func() float64) {
	m.figures = append(m.figures, figure{name, read})
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: namespace + name, Help: help, ConstLabels: prometheus.Labels{"service": m.service},
	}, read))
}

// Counter describes a number that only goes up; its name ends with _total.
func (m *Metrics) Counter(name, help string, read func() float64) {
	m.figures = append(m.figures, figure{name, read})
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: namespace + name, Help: help, ConstLabels: prometheus.Labels{"service": m.service},
	}, read))
}

// Figure describes a number of /v2/stats that Prometheus computes for itself.
func (m *Metrics) Figure(name string, read func() float64) {
	m.figures = append(m.figures, figure{name, read})
}

// Duration describes a histogram as name_duration_seconds.
func (m *Metrics) Duration(name, help string, h *stats.Histogram) {
	m.durations(name, help, nil, func(f func(string, *stats.Histogram)) { f("", h) })
}

// Durations describes histograms as name_duration_seconds, told apart by a label.
func (m *Metrics) Durations(name, help, label string, t *stats.Timings) {
	m.durations(name, help, []string{label}, t.Each)
}

func (m *Metrics) durations(name, help string, labels []string, each func(func(string, *stats.Histogram))) {
	m.timings = append(m.timings, timing{name, each})
	desc := m.desc(name+"_duration_seconds", help, labels...)
	m.registry.MustRegister(collector{desc, func(out chan<- prometheus.Metric) {
		each(func(part string, h *stats.Histogram) {
			var values []string
			if labels != nil {
				values = []string{part}
			}
			out <- durationMetric(desc, h.Read(), values...)
		})
	}})
}

// durationMetric is what was counted, in seconds.
func durationMetric(desc *prometheus.Desc, s *stats.Snapshot, labels ...string) prometheus.Metric {
	buckets := make(map[float64]uint64, len(durationBounds))
	for _, bound := range durationBounds {
		buckets[bound.Seconds()] = s.Below(bound)
	}
	return prometheus.MustNewConstHistogram(desc, s.Count, s.Sum.Seconds(), buckets, labels...)
}

const micro = time.Microsecond

var durationBounds = []time.Duration{
	100 * micro, 250 * micro, 500 * micro, 1000 * micro, 2500 * micro, 5000 * micro,
	10_000 * micro, 25_000 * micro, 50_000 * micro, 100_000 * micro, 250_000 * micro, 500_000 * micro,
	1 * time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second,
}

// Sizes describes a histogram of whole numbers.
func (m *Metrics) Sizes(name, help string, s *stats.Sizes) {
	desc := m.desc(name, help)
	m.registry.MustRegister(collector{desc, func(out chan<- prometheus.Metric) {
		read := s.Read()
		buckets := map[float64]uint64{}
		for _, bound := range []int{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000} {
			buckets[float64(bound)] = read.Below(time.Duration(bound) * micro)
		}
		out <- prometheus.MustNewConstHistogram(desc, read.Count, float64(read.Sum/micro), buckets)
	}})
}

// collector shows metrics of one description.
type collector struct {
	desc    *prometheus.Desc
	collect func(chan<- prometheus.Metric)
}

func (c collector) Describe(out chan<- *prometheus.Desc) { out <- c.desc }
func (c collector) Collect(out chan<- prometheus.Metric) { c.collect(out) }

// Pool describes the connections to the database.
func (m *Metrics) Pool(pool *pgxpool.Pool) {
	of := func(read func(*pgxpool.Stat) float64) func() float64 {
		return func() float64 { return read(pool.Stat()) }
	}
	m.Gauge("database_connections_max", "Most connections to the database.", of(func(s *pgxpool.Stat) float64 { return float64(s.MaxConns()) }))
	m.Gauge("database_connections_in_use", "Connections to the database that work.", of(func(s *pgxpool.Stat) float64 { return float64(s.AcquiredConns()) }))
	m.Gauge("database_connections_idle", "Connections to the database that wait for work.", of(func(s *pgxpool.Stat) float64 { return float64(s.IdleConns()) }))
	m.Counter("database_waits_total", "Times that work waited for a connection to the database.", of(func(s *pgxpool.Stat) float64 { return float64(s.EmptyAcquireCount()) }))
	m.Counter("database_wait_seconds_total", "How long work has waited for connections to the database.", of(func(s *pgxpool.Stat) float64 { return s.EmptyAcquireWaitTime().Seconds() }))
}

// NATS describes the connection to the NATS server.
func (m *Metrics) NATS(nc *nats.Conn) {
	m.Gauge("nats_connected", "1 while there is a connection to NATS.", func() float64 { return stats.Flag(nc.IsConnected()) })
	m.Counter("nats_reconnects_total", "Times that the connection to NATS was restored.", func() float64 { return float64(nc.Stats().Reconnects) })
}

// routes registers where the metrics are read.
func (m *Metrics) routes(e *echo.Echo) {
	m.requests.echo = e
	e.GET(metricsRoute, echo.WrapHandler(ServeMetrics(m)))
	e.GET(statsRoute, echo.WrapHandler(ServeStats(m)))
	e.GET(statsRoute+"/"+m.service, func(c echo.Context) error {
		c.Response().Header().Set("Cache-Control", "no-store")
		return c.JSON(http.StatusOK, m.stats(time.Now()))
	})
}

// ServeMetrics answers the metrics of services in one process, and of the
// process.
func ServeMetrics(services ...*Metrics) http.Handler {
	process := prometheus.NewRegistry()
	process.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	all := prometheus.Gatherers{process}
	for _, m := range services {
		all = append(all, m.registry)
	}
	return promhttp.HandlerFor(all, promhttp.HandlerOpts{})
}
