package query

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/readmodel"
	"github.com/config-api/config-api/shared/service"
)

// announcedWithin is the longest that a v1 read waits for the position that the
// projector announced last.
const announcedWithin = time.Second

// stateV1 returns a state that is not older than what the projector announced:
// a v1 client that was answered after a write must see it.
func (s *Service) stateV1(ctx context.Context) (*state, error) {
	var wanted int64
	now, err := s.view.now()
	if announced := s.announced.Load(); announced != nil && (err != nil || !announced.OfOtherLog(now.token())) {
		wanted = announced.Position
	}
	if err == nil && now.position >= wanted {
		return now, nil
	}
	ctx, cancel := context.WithTimeout(ctx, announcedWithin)
	defer cancel()
	return s.view.wait(ctx, wanted)
}

type nameValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// listV1 answers all names that v1 can address, with their values as text.
func (s *Service) listV1(c echo.Context) error {
	now, err := s.stateV1(c.Request().Context())
	if err != nil {
		return err
	}
	items := []nameValue{}
	now.list(config.DefaultNamespace, "", "", func(row *readmodel.Row) bool {
		if config.CheckNameV1(row.Name) == nil {
			items = append(items, nameValue{row.Name, row.Value.Text()})
		}
		return true
	})
	c.Response().Header().Set("Config-Position", now.token().String())
	return c.JSON(http.StatusOK, items)
}

func (s *Service) getV1(c echo.Context) error {
	name := c.Param("name")
	if err := config.CheckNameV1(name); err != nil {
		return err
	}
	now, err := s.stateV1(c.Request().Context())
	if err != nil {
		return err
	}
	row, err := now.get(config.DefaultNamespace, name)
	if err != nil {
		return err
	}
	if row.Version == 0 || row.Deleted {
		return errNotFoundV1
	}
	return text(c, now.token(), row.Value)
}

var errNotFoundV1 = config.Errorf(config.NotFound, "Not Found")

// text answers a value byte for byte.
func text(c echo.Context, position config.Token, value config.Value) error {
	c.Response().Header().Set("Config-Position", position.String())
	return service.Text(c, http.StatusOK, value.TextBytes())
}

// eventV1 is an entry of a v1 history.
type eventV1 struct {
	Type     config.EventType `json:"event_type"`
	Data     json.RawMessage  `json:"data"`
	Metadata metadataV1       `json:"metadata"`
	Created  time.Time        `json:"created_at"`
	Version  int64            `json:"stream_version"`
}

type metadataV1 struct {
	EventID       string `json:"event_id"`
	Position      int64  `json:"position"`
	Actor         string `json:"actor"`
	Reason        string `json:"reason,omitempty"`
	CorrelationID string `json:"correlation_id"`
	RequestID     string `json:"request_id,omitempty"`
}

type setV1 struct {
	Name     string    `json:"config_name"`
	Value    string    `json:"value"`
	OldValue *string   `json:"old_value"`
	Time     time.Time `json:"timestamp"`
}

type deletedV1 struct {
	Name     string    `json:"config_name"`
	OldValue *string   `json:"deleted_value"`
	Time     time.Time `json:"timestamp"`
}

// historyV1 answers all events of a name, oldest first; [] for an unknown name.
func (s *Service) historyV1(c echo.Context) error {
	name := c.Param("name")
	if err := config.CheckNameV1(name); err != nil {
		return err
	}
	events := []eventV1{}
	position, err := s.tablesV1(c.Request().Context(), func(ctx context.Context) (readmodel.Checkpoint, error) {
		events = events[:0]
		for after := int64(0); ; {
			page, checkpoint, err := s.store.History(ctx, config.DefaultNamespace, name, readmodel.HistoryQuery{After: after, Until: readmodel.Latest, Limit: maxLimit})
			if err != nil {
				return checkpoint, err
			}
			for i := range page {
				event, err := historyEventV1(&page[i])
				if err != nil {
					return checkpoint, err
				}
				events = append(events, event)
				after = page[i].Position
			}
			if len(page) < maxLimit {
				return checkpoint, nil
			}
		}
	})
	if err != nil {
		return err
	}
	c.Response().Header().Set("Config-Position", position.String())
	return c.JSON(http.StatusOK, events)
}

func historyEventV1(e *readmodel.Entry) (eventV1, error) {
	var data any = setV1{Name: e.Name, Value: e.Value.Text(), OldValue: textOrNull(e.OldValue), Time: e.UpdatedAt}
	if e.Deleted {
		data = deletedV1{Name: e.Name, OldValue: textOrNull(e.OldValue), Time: e.UpdatedAt}
	}
	raw, err := json.Marshal(data)
	return eventV1{
		Type: e.Type, Data: raw, Created: e.UpdatedAt, Version: e.Version,
		Metadata: metadataV1{
			EventID: e.EventID, Position: e.Position, Actor: e.UpdatedBy, Reason: e.Reason,
			CorrelationID: e.CorrelationID, RequestID: e.RequestID,
		},
	}, err
}

func textOrNull(v config.Value) *string {
	if v == nil {
		return nil
	}
	s := v.Text()
	return &s
}

// atV1 answers the value that a name had at an instant.
func (s *Service) atV1(c echo.Context) error {
	name := c.Param("name")
	if err := config.CheckNameV1(name); err != nil {
		return err
	}
	at, err := parseTime(c.Param("timestamp"))
	if err != nil {
		return config.Errorf(config.Invalid, "Invalid timestamp format: use RFC 3339, like 2026-11-23T08:00:00Z")
	}
	var row readmodel.Row
	position, err := s.tablesV1(c.Request().Context(), func(ctx context.Context) (readmodel.Checkpoint, error) {
		position, checkpoint, err := s.store.PositionAt(ctx, at)
		if err != nil {
			return checkpoint, err
		}
		row, _, err = s.store.Get(ctx, config.DefaultNamespace, name, position)
		return checkpoint, err // the state in which the time became a position
	})
	if err != nil {
		return err
	}
	if row.Version == 0 || row.Deleted {
		return errNotFoundV1
	}
	return text(c, position, row.Value)
}

// tablesV1 reads the read tables as they are, or a moment later when they are
// behind what the projector announced.
func (s *Service) tablesV1(ctx context.Context, read func(context.Context) (readmodel.Checkpoint, error)) (config.Token, error) {
	var wanted config.Token
	if announced := s.announced.Load(); announced != nil {
		wanted = *announced
	}
	ctx, cancel := context.WithTimeout(ctx, announcedWithin)
	defer cancel()
	return s.readTables(ctx, wanted, read)
}

// healthV1 answers whether all parts of the system work, as far as a query
// service can tell.
func (s *Service) healthV1(c echo.Context) error {
	results, ok := service.RunChecks(c.Request().Context(), s.checks())
	status, text := http.StatusOK, "healthy"
	if !ok {
		status, text = http.StatusServiceUnavailable, "unhealthy"
	}
	return c.JSON(status, struct {
		Status    string            `json:"status"`
		Timestamp time.Time         `json:"timestamp"`
		Checks    map[string]string `json:"checks"`
	}{text, time.Now().UTC(), results})
}
