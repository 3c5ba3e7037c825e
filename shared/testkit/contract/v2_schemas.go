package contract

import (
	"strings"
	"testing"

	"github.com/config-api/config-api/shared/config"
)

const small = `{"type":"integer","minimum":1,"maximum":100}`

// schema sets the schema of a pattern; members are further ones of the body.
func (s *space) schema(t testing.TB, pattern, schema, members string) Answer {
	t.Helper()
	return s.send(t, "PUT", "schemas/"+pattern, `{"schema":`+schema+members+`}`)
}

// A schema is kept by every write of a name that its pattern matches.
func schemas(t *testing.T, s *space) {
	s.get(t, "schemas").is(t, 200).lists(t, "/items", "/pattern")
	s.get(t, "schemas/pool.*").problem(t, 404, config.NotFound)
	created := s.schema(t, "pool.*", small, `,"reason":"typing errors"`).is(t, 201).has(t, "/version", "1", "/pattern", "pool.*", "/violations", "[]", "/dry_run", "false")
	if created.Header.Get("ETag") != `"v1"` {
		t.Errorf("ETag %s of a new schema", created.Header.Get("ETag"))
	}
	s.send(t, "PUT", "configs/pool.size", `{"value":"20"}`).problem(t, 422, config.SchemaViolation, "/value")
	s.send(t, "PUT", "configs/pool.a.b", `{"value":0}`).problem(t, 422, config.SchemaViolation, "/value")
	s.put(t, "pool.size", "20")
	s.put(t, "pool", `"free"`)
	s.send(t, "POST", "changes", `{"changes":[{"op":"set","name":"free","value":{}},{"op":"set","name":"pool.size","value":101},{"op":"set","name":"pool.x","value":{}}]}`).
		problem(t, 422, config.SchemaViolation, "/changes/1/value", "/changes/2/value")

	// Pointers go into the value, and every schema counts.
	s.schema(t, "servers", `{"type":"array","items":{"type":"object","required":["host"],"properties":{"port":{"type":"integer"},"at":{"format":"date-time"}}}}`, "").is(t, 201)
	s.send(t, "PUT", "configs/servers", `{"value":[{"host":"a","port":"x"},{}, {"host":"b","at":"soon"}]}`).
		problem(t, 422, config.SchemaViolation, "/value/0/port", "/value/1", "/value/2/at")
	s.schema(t, "*", `{"type":["object","array","integer","string"]}`, "").is(t, 201)
	s.send(t, "PUT", "configs/pool.size", `{"value":null}`).is(t, 422).has(t, "/errors/1/pointer", "/value")
	s.now(t, "pool", `free`, "pool.size", "20")

	// They have versions, history and time travel.
	s.get(t, "schemas").is(t, 200).lists(t, "/items", "/pattern", "*", "pool.*", "servers")
	got := s.get(t, "schemas/pool.*").is(t, 200).has(t, "/schema", small, "/version", "1", "/reason", "typing errors", "/position", created.at("/position"), "/final", "")
	s.get(t, "schemas/pool.*", "If-None-Match", got.Header.Get("ETag")).is(t, 304)
	s.schema(t, "pool.*", `{"type":"integer"}`, "").is(t, 200).has(t, "/version", "2")
	s.put(t, "pool.size", "101")
	s.get(t, "schemas/pool.*?at_position="+created.at("/position")).is(t, 200).has(t, "/schema", small, "/version", "1", "/final", "true")
	s.get(t, "schemas?at_position="+created.at("/position")).is(t, 200).lists(t, "/items", "/pattern", "pool.*").has(t, "/final", "true")
	s.get(t, "schemas?at_position=0").lists(t, "/items", "/pattern")
	s.get(t, "/v2/audit?namespace="+s.ns+"&name=%24schema.pool.*").lists(t, "/items", "/type", "ConfigSchemaSet", "ConfigSchemaSet")

	// Deleted, values are free.
	s.send(t, "DELETE", "schemas/pool.*", "", "If-Match", `"v1"`).problem(t, 412, config.PreconditionFailed)
	s.send(t, "DELETE", "schemas/pool.*", `{"reason":"done"}`, "If-Match", `"v2"`).is(t, 200).has(t, "/version", "3")
	s.send(t, "DELETE", "schemas/pool.*", "").problem(t, 410, config.Gone)
	s.send(t, "DELETE", "schemas/never", "").problem(t, 404, config.NotFound)
	s.put(t, "pool.size", `"free"`)
	s.get(t, "schemas/pool.*").problem(t, 404, config.NotFound)
	s.get(t, "schemas").lists(t, "/items", "/pattern", "*", "servers")
	s.get(t, "configs").lists(t, "/items", "/name", "pool", "pool.size") // schemas are no configs
}

// A schema that present values break is refused with their list.
func schemasOfPresentValues(t *testing.T, s *space) {
	s.put(t, "size.a", "7")
	s.put(t, "size.b", `"many"`)
	s.put(t, "size.b", "1000")
	s.put(t, "size.c", "1000")
	s.remove(t, "size.c")
	dry := s.schema(t, "size.*", small, `,"dry_run":true`).is(t, 200).has(t, "/dry_run", "true", "/version", "1", "/updated_at", "")
	dry.lists(t, "/violations", "/name", "size.b", "size.b", "size.c").lists(t, "/violations", "/version", "1", "2", "1")
	dry.lists(t, "/violations", "/current", "false", "true", "false")
	s.get(t, "schemas/size.*").problem(t, 404, config.NotFound)
	refused := s.schema(t, "size.*", small, "").problem(t, 409, config.Conflict).lists(t, "/conflicts", "/name", "size.b")
	if refused.has(t, "/conflicts/0/version", "2"); refused.at("/conflicts/0/faults/0/detail") == "" {
		t.Errorf("a conflict that does not say what is wrong: %s", refused.Body)
	}
	s.get(t, "schemas/size.*").problem(t, 404, config.NotFound)
	s.schema(t, "size.*", small, `,"force":true`).is(t, 201).has(t, "/version", "1")
	s.send(t, "PUT", "configs/size.b", `{"value":1001}`).problem(t, 422, config.SchemaViolation, "/value")
	s.get(t, "configs/size.b").has(t, "/value", "1000")

	// Reverts and copies are writes like others.
	old := s.get(t, "configs/size.b/history").at("/items/0/position")
	s.put(t, "size.b", "1")
	s.send(t, "POST", "revert", `{"to":`+old+`,"names":["size.b"]}`).problem(t, 422, config.SchemaViolation, "/changes/0/value")
}

func unusableSchemas(t *testing.T, s *space) {
	for _, pattern := range []string{"a*", "*.a", "a.*.b", "a..b", "**", "%C3%A9", strings.Repeat("x", 257)} {
		s.schema(t, pattern, small, "").is(t, 400)
		s.get(t, "schemas/"+pattern).problem(t, 400, config.Invalid)
	}
	s.send(t, "PUT", "schemas/a", `{}`).problem(t, 400, config.Invalid, "/schema")
	s.send(t, "PUT", "schemas/a", `{"schema":{},"forced":true}`).problem(t, 400, config.Invalid, "/forced")
	s.schema(t, "a", `{"type":"number","minimum":"x"}`, "").problem(t, 400, config.Invalid, "/schema/minimum")
	for _, schema := range []string{`1`, `"x"`, `null`, `{"type":"float"}`, `{"$ref":"#/nowhere"}`, `{"pattern":"("}`} {
		s.schema(t, "a", schema, "").is(t, 400)
	}
	// A schema can't make the service read what it can reach.
	secret := s.schema(t, "a", `{"$ref":"file:///etc/passwd"}`, "").is(t, 400)
	if strings.Contains(secret.Body, "root:") {
		t.Errorf("a file's content in %s", secret.Body)
	}
	s.schema(t, "a", small, "").is(t, 201)
	s.send(t, "PUT", "schemas/a", `{"schema":{}}`, "If-None-Match", "*").problem(t, 412, config.PreconditionFailed)
	key := []string{"Idempotency-Key", s.ns}
	first := s.send(t, "PUT", "schemas/a", `{"schema":true}`, key...).is(t, 200)
	s.send(t, "PUT", "schemas/a", `{"schema":true}`, key...).want(t, 200, first.Body)
	s.send(t, "PUT", "schemas/a", `{"schema":false}`, key...).problem(t, 422, config.KeyReused)
	s.get(t, "schemas").lists(t, "/items", "/version", "2")
}
