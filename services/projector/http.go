package projector

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/feed"
	"github.com/config-api/config-api/shared/readmodel"
	"github.com/config-api/config-api/shared/service"
)

// projectionName is that of the only projection that there is.
const projectionName = "current"

// projection answers how far a projection is.
type projection struct {
	Name        string  `json:"name"`
	State       string  `json:"state"` // running, standby or halted
	Detail      string  `json:"detail,omitempty"`
	Generation  int64   `json:"generation"`
	Generations []int64 `json:"generations"` // that there are: any can be made active again
	Epoch       string  `json:"epoch"`
	Position    int64   `json:"position"`
	Feed        int64   `json:"feed_position"`
	Lag         int64   `json:"lag"` // events of the feed that are not applied
	Consumer    string  `json:"consumer"`
	// Parked are the first names that are parked, and ParkedNames is how many
	// there are.
	ParkedNames int                `json:"parked_names"`
	Parked      []readmodel.Parked `json:"parked"`
}

// maxParked is how many parked names are listed.
const maxParked = 100

func (s *Service) getProjections(c echo.Context) error {
	ctx := c.Request().Context()
	checkpoint, err := s.store.Checkpoint(ctx)
	if err != nil {
		return err
	}
	generations, err := s.store.Generations(ctx)
	if err != nil {
		return err
	}
	last, err := feed.LastPosition(ctx, s.js)
	if err != nil && !errors.Is(err, feed.ErrNoStream) {
		s.logger.Warn("the feed can't be looked at", "error", err)
		return config.Errorf(config.Unavailable, "the feed can't be looked at: try again")
	}
	status := s.projector.Status()
	answer := projection{
		Name: projectionName, State: "running", Generation: checkpoint.Generation, Epoch: checkpoint.Epoch,
		Position: checkpoint.Position, Feed: last, Lag: max(last-checkpoint.Position, 0), Consumer: consumerOf(checkpoint.Generation),
	}
	parked, err := s.store.Parked(ctx)
	if err != nil {
		return err
	}
	answer.ParkedNames, answer.Parked = len(parked), parked[:min(len(parked), maxParked)]
	for _, g := range generations {
		answer.Generations = append(answer.Generations, g.Generation)
	}
	switch {
	case status.Halted != "":
		answer.State, answer.Detail = "halted", status.Halted
	case !status.Leading:
		answer.State, answer.Detail = "standby", "another projector works"
	}
	c.Response().Header().Set("Config-Position", checkpoint.Token().String())
	return c.JSON(http.StatusOK, map[string]any{"items": []projection{answer}})
}

// rebuildStatus answers how far a rebuild is.
type rebuildStatus struct {
	Projection  string                 `json:"projection"`
	State       readmodel.RebuildState `json:"state"`
	Detail      string                 `json:"detail,omitempty"`
	Generation  int64                  `json:"generation"`
	Done        int64                  `json:"done"`         // events
	Total       int64                  `json:"total"`        // 0 until it is known
	Rate        float64                `json:"rate"`         // events a second
	SecondsLeft *float64               `json:"seconds_left"` // null when it can't be told
	StartedAt   time.Time              `json:"started_at"`
	FinishedAt  *time.Time             `json:"finished_at"`
}

func statusOf(r readmodel.Rebuild, now time.Time) rebuildStatus {
	answer := rebuildStatus{
		Projection: projectionName, State: r.State, Detail: r.Detail, Generation: r.Generation,
		Done: r.Done, Total: r.Total, StartedAt: r.StartedAt.UTC(),
	}
	if r.FinishedAt != nil {
		now = r.FinishedAt.UTC()
		answer.FinishedAt = &now
	}
	if took := now.Sub(r.StartedAt).Seconds(); took > 0 {
		answer.Rate = float64(r.Done) / took
	}
	if r.Going() && answer.Rate > 0 && r.Total > 0 {
		left := float64(r.Total-r.Done) / answer.Rate
		answer.SecondsLeft = &left
	}
	return answer
}

func (s *Service) named(c echo.Context) error {
	if c.Param("name") != projectionName {
		return config.Errorf(config.NotFound, "there is no projection of this name: the only one is %s", projectionName)
	}
	return nil
}

// decodeOptional reads a body, if there is one.
func decodeOptional(c echo.Context, request any) error {
	body, err := io.ReadAll(c.Request().Body)
	if err != nil {
		return service.BodyError(err)
	}
	if len(body) == 0 {
		return nil
	}
	return service.DecodeJSON(body, request)
}

// postRebuild asks for a rebuild: of the next generation, or with {"generation": n}
// for an old one to be brought up to date and read again.
func (s *Service) postRebuild(c echo.Context) error {
	if err := s.named(c); err != nil {
		return err
	}
	var request struct {
		Generation int64 `json:"generation"`
	}
	if err := decodeOptional(c, &request); err != nil {
		return err
	}
	r, err := s.store.RequestRebuild(c.Request().Context(), request.Generation)
	if err != nil {
		return err
	}
	s.rebuilder.ask()
	return c.JSON(http.StatusAccepted, statusOf(r, time.Now()))
}

// postRetry tries parked names again: all, or the one that is named.
func (s *Service) postRetry(c echo.Context) error {
	if err := s.named(c); err != nil {
		return err
	}
	var request struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	}
	if err := decodeOptional(c, &request); err != nil {
		return err
	}
	if (request.Namespace == "") != (request.Name == "") {
		return config.Errorf(config.Invalid, "namespace and name are both needed; without both all parked names are tried")
	}
	ctx := c.Request().Context()
	names := []readmodel.Parked{{Namespace: request.Namespace, Name: request.Name}}
	if request.Name == "" {
		var err error
		if names, err = s.store.Parked(ctx); err != nil {
			return err
		}
	}
	items := []readmodel.Retried{}
	for _, n := range names {
		done, err := s.store.Retry(ctx, n.Namespace, n.Name)
		if err != nil {
			return err
		}
		s.logger.Info("parked name tried again", "request_id", service.RequestID(c), "namespace", n.Namespace, "config_name", n.Name,
			"applied", done.Applied, "position", done.Position, "reason", done.Reason)
		items = append(items, done)
	}
	s.projector.flip() // it announces the new set
	return c.JSON(http.StatusOK, map[string]any{"items": items})
}

func (s *Service) getRebuild(c echo.Context) error {
	if err := s.named(c); err != nil {
		return err
	}
	r, err := s.store.Rebuild(c.Request().Context())
	if err != nil {
		return err
	}
	if r.State == "" {
		return config.Errorf(config.NotFound, "there was no rebuild yet: POST to this address begins one")
	}
	return c.JSON(http.StatusOK, statusOf(r, time.Now()))
}

func (s *Service) deleteRebuild(c echo.Context) error {
	if err := s.named(c); err != nil {
		return err
	}
	r, err := s.store.CancelRebuild(c.Request().Context())
	if err != nil {
		return err
	}
	s.rebuilder.ask()
	return c.JSON(http.StatusAccepted, statusOf(r, time.Now()))
}
