package service

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/stats"
)

// requests counts what is asked and answered, by route. Each route has its
// counters before the first request is answered: counting one is a look into a
// map and four atomic additions.
type requests struct {
	refused map[config.Code]*atomic.Int64

	echo    *echo.Echo
	once    sync.Once
	routes  map[route]*endpoint
	unknown endpoint
	streams []*echo.Route

	total, duration, flying, errors *prometheus.Desc
}

// route is as it was registered, with the names of its parameters.
type route struct{ method, path string }

// endpoint is what was asked of one route. What has begun and not ended is in
// flight.
type endpoint struct {
	route
	// stream says that an answer with 200 goes on until somebody ends it: it has
	// no duration, and is not in flight.
	stream   bool
	begun    atomic.Uint64
	aborted  atomic.Uint64 // by a panic, so that there is no status
	duration stats.Histogram
	statuses [len(answered) + 1]atomic.Uint64
}

// answered are the statuses that are counted each; those that no route of ours
// answers are counted as one.
var answered = [...]int{200, 201, 202, 204, 304, 400, 404, 409, 410, 412, 413, 422, 429, 500, 503}

// statusIndex is where a status is in answered.
var statusIndex = func() (index [600]uint8) {
	for i := range index {
		index[i] = uint8(len(answered))
	}
	for i, status := range answered {
		index[status] = uint8(i)
	}
	return index
}()

func newRequests(m *Metrics) *requests {
	r := &requests{
		unknown: endpoint{route: route{"unknown", "unknown"}}, refused: map[config.Code]*atomic.Int64{},
		total:    m.desc("http_requests_total", "Requests that were answered.", "method", "route", "status"),
		duration: m.desc("http_request_duration_seconds", "How long requests took. Watches, which last, are not in it.", "method", "route"),
		flying:   m.desc("http_requests_in_flight", "Requests that are worked on, without watches."),
		errors:   m.desc("errors_total", "Requests that were answered with an error, by its code.", "code"),
	}
	for code := range statuses {
		r.refused[code] = new(atomic.Int64)
	}
	return r
}

// begin returns the endpoint of a request, which is in flight from now on.
func (r *requests) begin(c echo.Context) *endpoint {
	r.once.Do(r.index)
	at := r.routes[route{c.Request().Method, c.Path()}]
	if at == nil {
		at = &r.unknown
	}
	at.begun.Add(1)
	return at
}

// end counts the answer to a request that took so long.
func (e *endpoint) end(status int, took time.Duration) {
	if !e.stream || status != http.StatusOK {
		e.duration.Observe(took)
	}
	e.statuses[statusIndex[max(0, min(status, len(statusIndex)-1))]].Add(1)
}

// index finds the routes, once all are registered.
func (r *requests) index() {
	r.routes = map[route]*endpoint{}
	for _, known := range r.echo.Routes() {
		if known.Method != echo.RouteNotFound {
			at := route{known.Method, known.Path}
			r.routes[at] = &endpoint{route: at, stream: slices.Contains(r.streams, known)}
		}
	}
}

// refuse counts an error that was answered.
func (r *requests) refuse(code config.Code) {
	if n := r.refused[code]; n != nil {
		n.Add(1)
	}
}

// Streams says that a route's answers go on until somebody ends them.
func (m *Metrics) Streams(r *echo.Route) { m.requests.streams = append(m.requests.streams, r) }

func (r *requests) isStream(path string) bool {
	return slices.ContainsFunc(r.streams, func(stream *echo.Route) bool { return stream.Path == path })
}

// counts are an endpoint's figures at one moment.
type counts struct {
	*endpoint
	duration *stats.Snapshot
	statuses map[int]uint64 // 0 are those that are counted as one
	inFlight int64
}

func (e *endpoint) read() counts {
	c := counts{endpoint: e, duration: e.duration.Read(), statuses: map[int]uint64{}}
	for i := range e.statuses {
		status := 0
		if i < len(answered) {
			status = answered[i]
		}
		c.statuses[status] = e.statuses[i].Load()
	}
	if !e.stream { // what begins or ends meanwhile may be missed
		c.inFlight = max(int64(e.begun.Load()-e.aborted.Load()-c.sum(0, 999)), 0)
	}
	return c
}

// sum returns the answers with a status from least to most.
func (c *counts) sum(least, most int) (n uint64) {
	for status, count := range c.statuses {
		if least <= status && status <= most {
			n += count
		}
	}
	return n
}

// all returns the figures of every endpoint that was asked, by path and method.
func (r *requests) all() []counts {
	if r.echo != nil { // else there are no routes yet
		r.once.Do(r.index)
	}
	all := []counts{r.unknown.read()}
	for _, e := range r.routes {
		if e.begun.Load() > 0 {
			all = append(all, e.read())
		}
	}
	slices.SortFunc(all, func(a, b counts) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.method, b.method))
	})
	return all
}

func inFlight(all []counts) (n int64) {
	for _, c := range all {
		n += c.inFlight
	}
	return n
}

// Describe implements [prometheus.Collector].
func (r *requests) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{r.total, r.duration, r.flying, r.errors} {
		out <- desc
	}
}

// Collect implements [prometheus.Collector].
func (r *requests) Collect(out chan<- prometheus.Metric) {
	all := r.all()
	for _, c := range all {
		for status, n := range c.statuses {
			text := strconv.Itoa(status)
			if status == 0 {
				text = "other"
			}
			if n > 0 {
				out <- prometheus.MustNewConstMetric(r.total, prometheus.CounterValue, float64(n), c.method, c.path, text)
			}
		}
		if c.duration.Count > 0 {
			out <- durationMetric(r.duration, c.duration, c.method, c.path)
		}
	}
	out <- prometheus.MustNewConstMetric(r.flying, prometheus.GaugeValue, float64(inFlight(all)))
	for code, n := range r.refused {
		out <- prometheus.MustNewConstMetric(r.errors, prometheus.CounterValue, float64(n.Load()), string(code))
	}
}
