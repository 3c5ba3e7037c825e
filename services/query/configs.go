package query

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"hash/crc32"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/readmodel"
)

// item is a config as a read answers it.
type item struct {
	Namespace     string       `json:"namespace"`
	Name          string       `json:"name"`
	Value         config.Value `json:"value"`
	Version       int64        `json:"version"`
	Position      int64        `json:"position"`
	UpdatedAt     time.Time    `json:"updated_at"`
	UpdatedBy     string       `json:"updated_by"`
	Reason        string       `json:"reason"`
	CorrelationID string       `json:"correlation_id"`
	Final         *bool        `json:"final,omitempty"` // of a read of the past
}

func itemOf(row *readmodel.Row) item {
	return item{
		Namespace: row.Namespace, Name: row.Name, Value: row.Value, Version: row.Version, Position: row.Position,
		UpdatedAt: row.UpdatedAt, UpdatedBy: row.UpdatedBy, Reason: row.Reason, CorrelationID: row.CorrelationID,
	}
}

// page is a list. Position is the state that all of its pages show.
type page[T any] struct {
	Items    []T    `json:"items"`
	Next     string `json:"next_page_token,omitempty"`
	Position int64  `json:"position"`
	Final    bool   `json:"final"`
	// Parked are the names that are left out because they are parked.
	Parked []string `json:"parked,omitempty"`
}

// leaveOut notes the parked names that would be in the list.
func (p *page[T]) leaveOut(parked *readmodel.ParkedNames, namespace, prefix string) {
	for _, n := range parked.In(namespace, p.Position) {
		if strings.HasPrefix(n.Name, prefix) && n.Name >= firstName {
			p.Parked = append(p.Parked, n.Name)
		}
	}
	slices.Sort(p.Parked)
	if p.Parked != nil {
		p.Final = false // it will be whole
	}
}

// cursor is what a page token holds: where the next page begins, and the state
// that the first one showed.
type cursor struct {
	Kind     string `json:"k"` // the list that it belongs to
	Epoch    string `json:"e"`
	Position int64  `json:"p"`
	Final    bool   `json:"f,omitempty"`
	Name     string `json:"n,omitempty"` // after this name
	Before   int64  `json:"b,omitempty"` // before or after this position
}

func (k cursor) String() string {
	text, err := json.Marshal(k)
	if err != nil {
		panic(err) // it has texts and numbers only
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// parseCursor reads page_token, nil if there is none. kind is what the list was
// asked for: a token of another list is refused.
func parseCursor(c echo.Context, kind string) (*cursor, error) {
	token := c.QueryParam("page_token")
	if token == "" {
		return nil, nil
	}
	var k cursor
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil {
		err = json.Unmarshal(text, &k)
	}
	if err != nil || k.Kind != kind {
		return nil, config.Errorf(config.Invalid, "page_token is not one of this list: use next_page_token of the page before, with the same query")
	}
	return &k, nil
}

// pin makes r a read of the state that the first page showed.
func (k *cursor) pin(r *read) error {
	if r.wanted.Epoch != "" && r.wanted.Epoch != k.Epoch {
		return errEpoch
	}
	r.asOf = asOf{past: true, position: k.Position}
	r.wanted = config.Token{Epoch: k.Epoch, Position: max(r.wanted.Position, k.Position)}
	return nil
}

func (s *Service) getConfig(c echo.Context) error {
	namespace, name := c.Param("namespace"), c.Param("name")
	if err := checkPath(namespace, name); err != nil {
		return err
	}
	r, err := s.parseRead(c)
	if err != nil {
		return err
	}
	if !r.past {
		now, err := s.memory(c, &r)
		if err != nil {
			return err
		}
		row, err := now.get(namespace, name)
		if err != nil {
			return err
		}
		return answerRow(c, row, nil)
	}
	var row readmodel.Row
	saw, err := s.tables(c, &r, func(ctx context.Context, position int64) (checkpoint readmodel.Checkpoint, err error) {
		row, checkpoint, err = s.store.Get(ctx, namespace, name, position)
		return checkpoint, err
	})
	if err != nil {
		return err
	}
	r.state(c, saw)
	final := r.final(saw)
	return answerRow(c, &row, &final)
}

// answerRow answers one config, or that it was not there.
func answerRow(c echo.Context, row *readmodel.Row, final *bool) error {
	switch {
	case row.Version == 0:
		return config.Errorf(config.NotFound, "%s in %s was never set", row.Name, row.Namespace)
	case row.Deleted:
		return config.Errorf(config.NotFound, "%s in %s is deleted, at version %d by %s", row.Name, row.Namespace, row.Version, row.UpdatedBy)
	}
	if notModified(c, etag(row.Version)) {
		return nil
	}
	answer := itemOf(row)
	answer.Final = final
	return c.JSON(http.StatusOK, answer)
}

func checkPath(namespace, name string) error {
	if err := config.CheckNamespace(namespace); err != nil {
		return err
	}
	return config.CheckName(name)
}

func (s *Service) listConfigs(c echo.Context) error {
	namespace, prefix := c.Param("namespace"), c.QueryParam("prefix")
	if err := config.CheckNamespace(namespace); err != nil {
		return err
	}
	r, err := s.parseRead(c)
	if err != nil {
		return err
	}
	limit, err := limitOf(c)
	if err != nil {
		return err
	}
	kind := "configs/" + namespace + "/" + prefix
	k, err := parseCursor(c, kind)
	if err != nil {
		return err
	}
	if !r.past && k == nil {
		return s.listNow(c, &r, namespace, prefix, kind, limit)
	}
	next := cursor{Kind: kind}
	if k != nil {
		next = *k
		if err := k.pin(&r); err != nil {
			return err
		}
	}
	var rows []readmodel.Row
	saw, err := s.tables(c, &r, func(ctx context.Context, position int64) (checkpoint readmodel.Checkpoint, err error) {
		rows, checkpoint, err = s.store.List(ctx, namespace, prefix, next.Name, limit+1, position)
		return checkpoint, err
	})
	if err != nil {
		return err
	}
	answer := page[item]{Items: []item{}, Position: r.state(c, saw), Final: r.final(saw)}
	if k != nil {
		answer.Final = k.Final
	}
	for i := range rows[:min(limit, len(rows))] {
		if saw.Parked.Find(namespace, rows[i].Name, answer.Position) == nil {
			answer.Items = append(answer.Items, itemOf(&rows[i]))
		}
	}
	answer.leaveOut(saw.Parked, namespace, prefix)
	if len(rows) > limit {
		next.Epoch, next.Position, next.Final, next.Name = saw.Epoch, answer.Position, answer.Final, rows[limit-1].Name
		answer.Next = next.String()
	}
	return answerPage(c, answer, saw.Epoch)
}

// listNow answers the first page of the present, from memory.
func (s *Service) listNow(c echo.Context, r *read, namespace, prefix, kind string, limit int) error {
	now, err := s.memory(c, r)
	if err != nil {
		return err
	}
	answer := page[item]{Items: []item{}, Position: now.position}
	now.list(namespace, prefix, "", func(row *readmodel.Row) bool {
		if len(answer.Items) == limit {
			last := answer.Items[limit-1].Name
			answer.Next = cursor{Kind: kind, Epoch: now.epoch, Position: now.position, Name: last}.String()
			return false
		}
		answer.Items = append(answer.Items, itemOf(row))
		return true
	})
	answer.leaveOut(now.parked, namespace, prefix)
	return answerPage(c, answer, now.epoch)
}

// answerPage answers a list; its ETag is the state that it shows.
func answerPage(c echo.Context, answer page[item], epoch string) error {
	tag := epoch + ":" + strconv.FormatInt(answer.Position, 10)
	if answer.Parked != nil { // the same position can be answered whole later
		tag += ":without-" + strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(strings.Join(answer.Parked, " ")))), 16)
	}
	if notModified(c, `"`+tag+`"`) {
		return nil
	}
	return c.JSON(http.StatusOK, answer)
}

// schemaItem is a schema as a read answers it.
type schemaItem struct {
	Namespace string       `json:"namespace"`
	Pattern   string       `json:"pattern"`
	Schema    config.Value `json:"schema"`
	Version   int64        `json:"version"`
	Position  int64        `json:"position"`
	UpdatedAt time.Time    `json:"updated_at"`
	UpdatedBy string       `json:"updated_by"`
	Reason    string       `json:"reason"`
	Final     *bool        `json:"final,omitempty"` // of a read of the past
}

func schemaOf(row *readmodel.Row) schemaItem {
	pattern, _ := config.SchemaPattern(row.Name)
	return schemaItem{
		Namespace: row.Namespace, Pattern: pattern, Schema: row.Value, Version: row.Version,
		Position: row.Position, UpdatedAt: row.UpdatedAt, UpdatedBy: row.UpdatedBy, Reason: row.Reason,
	}
}

func (s *Service) getSchema(c echo.Context) error {
	namespace, pattern := c.Param("namespace"), c.Param("pattern")
	if err := config.CheckNamespace(namespace); err != nil {
		return err
	}
	if err := config.CheckPattern(pattern); err != nil {
		return err
	}
	r, err := s.parseRead(c)
	if err != nil {
		return err
	}
	var row readmodel.Row
	saw, err := s.tables(c, &r, func(ctx context.Context, position int64) (checkpoint readmodel.Checkpoint, err error) {
		row, checkpoint, err = s.store.Get(ctx, namespace, config.SchemaStream(pattern), position)
		return checkpoint, err
	})
	if err != nil {
		return err
	}
	r.state(c, saw)
	if row.Version == 0 || row.Deleted {
		return config.Errorf(config.NotFound, "there is no schema for %s in %s", pattern, namespace)
	}
	if notModified(c, etag(row.Version)) {
		return nil
	}
	answer := schemaOf(&row)
	if r.past {
		final := r.final(saw)
		answer.Final = &final
	}
	return c.JSON(http.StatusOK, answer)
}

func (s *Service) listSchemas(c echo.Context) error {
	namespace := c.Param("namespace")
	if err := config.CheckNamespace(namespace); err != nil {
		return err
	}
	r, err := s.parseRead(c)
	if err != nil {
		return err
	}
	var rows []readmodel.Row
	saw, err := s.tables(c, &r, func(ctx context.Context, position int64) (checkpoint readmodel.Checkpoint, err error) {
		rows, checkpoint, err = s.store.Schemas(ctx, namespace, position)
		return checkpoint, err
	})
	if err != nil {
		return err
	}
	answer := page[schemaItem]{Items: []schemaItem{}, Position: r.state(c, saw), Final: r.final(saw)}
	for i := range rows {
		answer.Items = append(answer.Items, schemaOf(&rows[i]))
	}
	return c.JSON(http.StatusOK, answer)
}
