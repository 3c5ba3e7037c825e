package commands

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"github.com/config-api/config-api/shared/client"
	"github.com/config-api/config-api/shared/config"
)

const defaultServer = "http://127.0.0.1:4000"

// settings is the configuration file.
type settings struct {
	Current  string             `yaml:"current,omitempty"`
	Contexts map[string]setting `yaml:"contexts,omitempty"`
}

// setting is a named context.
type setting struct {
	Server    string `yaml:"server,omitempty" json:"server"`
	Namespace string `yaml:"namespace,omitempty" json:"namespace"`
	Actor     string `yaml:"actor,omitempty" json:"actor"`
}

// settingsFile is where the contexts are kept.
func (c *cli) settingsFile() string {
	if file := c.Env("CONFIGCTL_CONFIG"); file != "" {
		return file
	}
	dir := c.Env("XDG_CONFIG_HOME")
	if dir == "" {
		dir = filepath.Join(c.Env("HOME"), ".config")
	}
	return filepath.Join(dir, "configctl", "config.yaml")
}

func (c *cli) loadSettings() (settings, error) {
	var s settings
	text, err := os.ReadFile(c.settingsFile())
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = yaml.Unmarshal(text, &s)
	}
	if err != nil {
		return s, fmt.Errorf("the contexts in %s: %w", c.settingsFile(), err)
	}
	return s, nil
}

func (c *cli) saveSettings(s settings) error {
	text, err := yaml.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.settingsFile()), 0o700); err != nil {
		return err
	}
	return replaceFile(c.settingsFile(), func(f *os.File) error {
		_, err := f.Write(text)
		return err
	})
}

// resolve finds out where to go: flags come before the environment, and that before
// the context in use. A context that was asked for by its flag comes before the
// environment too.
func (c *cli) resolve() (setting, error) {
	file, err := c.loadSettings()
	if err != nil {
		return setting{}, err
	}
	name := cmp.Or(c.flags.context, c.Env("CONFIGCTL_CONTEXT"), file.Current)
	named, there := file.Contexts[name]
	if name != "" && !there {
		return setting{}, usagef("there is no context %q: configctl context list shows them", name)
	}
	environment := setting{c.Env("CONFIGCTL_SERVER"), c.Env("CONFIGCTL_NAMESPACE"), c.Env("CONFIGCTL_ACTOR")}
	first, second := environment, named
	if c.flags.context != "" {
		first, second = named, environment
	}
	return setting{
		cmp.Or(c.server, first.Server, second.Server, defaultServer),
		cmp.Or(c.flags.namespace, first.Namespace, second.Namespace, config.DefaultNamespace),
		cmp.Or(c.flags.actor, first.Actor, second.Actor, c.user()),
	}, nil
}

// user is who sits at this machine.
func (c *cli) user() string {
	user := cmp.Or(c.Env("USER"), c.Env("LOGNAME"), "unknown")
	if host, err := os.Hostname(); err == nil {
		return user + "@" + host
	}
	return user
}

// api is a client, and the namespace in use.
type api struct {
	*client.Client
	ns *client.Namespace
}

// connect makes the client that the settings name. No connection is made yet.
func (c *cli) connect(options ...client.Option) (api, error) {
	s, err := c.resolve()
	if err != nil {
		return api{}, err
	}
	c.where = s.Server
	options = append([]client.Option{client.WithActor(s.Actor), client.WithHTTPClient(&http.Client{Transport: transport})}, options...)
	made, err := client.New(s.Server, options...)
	if err != nil {
		return api{}, usageError{err}
	}
	return api{made, made.Namespace(s.Namespace)}, nil
}

// transport keeps as many connections as the load of configctl bench has clients.
var transport = func() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = maxBenchClients
	return t
}()
