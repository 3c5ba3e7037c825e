package command

import (
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/config-api/config-api/shared/config"
	"github.com/config-api/config-api/shared/eventlog"
	"github.com/config-api/config-api/shared/testkit"
)

// A schema refers to itself and to nothing else: no file is read, no host is
// asked, and no answer shows what is there.
func TestSchemasReferToNothingOutside(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	s := start(t, testkit.DatabaseURL(t, eventlog.Schema), noNATS)
	const secret = "s3cret"
	file := filepath.Join(t.TempDir(), "schema.json")
	if err := os.WriteFile(file, []byte(`{"type":"`+secret+`"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	outside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		t.Error("the reference was fetched")
		_, _ = w.Write([]byte(`{"type":"` + secret + `"}`))
	}))
	defer outside.Close()
	for _, ref := range []string{"file:///etc/passwd", "file://" + file, file, "other.json", outside.URL + "/schema.json", "urn:x:y"} {
		for _, body := range []string{
			`{"schema":{"$ref":"` + ref + `"}}`,
			`{"schema":{"$ref":"` + ref + `"},"dry_run":true}`,
			`{"schema":{"$schema":"` + ref + `"}}`,
			`{"schema":{"properties":{"x":{"$dynamicRef":"` + ref + `#a"}}}}`,
		} {
			got := s.Do(t, "PUT", "/v2/namespaces/ns/schemas/a", body)
			if got.Status != http.StatusBadRequest || strings.Contains(got.Body, "root:") || strings.Contains(got.Body, secret) {
				t.Errorf("%s: answered %d %s", body, got.Status, got.Body)
			}
		}
	}
	s.write(t, "PUT", "/v2/namespaces/ns/schemas/a", `{"schema":{"$ref":"#/$defs/n","$defs":{"n":{"type":"number"}}}}`)
	s.refused(t, 422, "PUT", "/v2/namespaces/ns/configs/a", `{"value":"no number"}`)
	s.write(t, "PUT", "/v2/namespaces/ns/configs/a", `{"value":1}`)
	s.wantEvents(t, 2)
}

// However writes and a schema race, no value that breaks the schema is in
// force when it comes into force, and none is accepted after that.
func TestASchemaRacesWrites(t *testing.T) {
	t.Parallel()
	testkit.Long(t)
	database := testkit.DatabaseURL(t, eventlog.Schema)
	services := []system{start(t, database, noNATS), start(t, database, noNATS)}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			path := "/v2/namespaces/ns/configs/race.n" + strconv.Itoa(w)
			for i := range 10 {
				for _, value := range []string{`"text"`, strconv.Itoa(i)} {
					if got := services[w%2].Do(t, "PUT", path, `{"value":`+value+`}`); got.Status/100 != 2 && (got.Status != 422 || value != `"text"`) {
						t.Errorf("%s: answered %d %s", value, got.Status, got.Body)
					}
				}
			}
		})
	}
	wg.Go(func() {
		for t.Context().Err() == nil {
			got := services[0].Do(t, "PUT", "/v2/namespaces/ns/schemas/race.*", `{"schema":{"type":"number"}}`)
			if got.Status == http.StatusCreated {
				return
			}
			if got.Status != http.StatusConflict {
				t.Errorf("the schema: answered %d %s", got.Status, got.Body)
				return
			}
		}
	})
	wg.Wait()
	values, inForce := map[string]config.Value{}, false
	for _, e := range services[0].events(t) {
		p, err := e.Payload()
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == config.SchemaSet {
			inForce = true
		} else {
			values[e.Name] = p.Value
		}
		for name, value := range values {
			if inForce && string(value) == `"text"` {
				t.Fatalf("at position %d the schema is in force and %s is %s", e.Position, name, value)
			}
		}
	}
	if !inForce {
		t.Error("the schema is not in the log")
	}
}

// The head is signed with the service's key, and what is signed is the head.
func TestTheHeadIsSigned(t *testing.T) {
	t.Parallel()
	private, public, err := note.GenerateKey(rand.Reader, "config.example")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, testkit.DatabaseURL(t, eventlog.Schema), noNATS, func(o *Options) { o.SigningKey = private })
	s.append(t, set(`1`, "a", "b"))
	answer := s.write(t, "GET", "/v2/log/head", "")
	head := decode[logHead](t, answer)
	verifier, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := note.Open([]byte(head.Note), note.VerifierList(verifier))
	if err != nil {
		t.Fatal(err)
	}
	if want := "config-api/" + head.Epoch + "\n2\n" + head.Hash + "\n"; signed.Text != want {
		t.Errorf("signed is %q, want %q", signed.Text, want)
	}
	if _, err := note.Open([]byte(strings.Replace(head.Note, "\n2\n", "\n3\n", 1)), note.VerifierList(verifier)); err == nil {
		t.Error("a changed note verifies")
	}
	if want := head.Epoch + ":2"; answer.Header.Get("Config-Position") != want {
		t.Errorf("Config-Position %s, want %s", answer.Header.Get("Config-Position"), want)
	}
	verified := decode[struct {
		Valid bool   `json:"valid"`
		To    int64  `json:"to"`
		Hash  string `json:"hash"`
	}](t, s.write(t, "GET", "/v2/log/verify", ""))
	if !verified.Valid || verified.To != 2 || verified.Hash != head.Hash {
		t.Errorf("verified %+v, the head is %+v", verified, head)
	}
}
