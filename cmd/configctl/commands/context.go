package commands

import (
	"maps"
	"slices"

	"github.com/spf13/cobra"
)

// contexts are the named places that this user works at.
func (c *cli) contexts() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "show the contexts", Args: cobra.NoArgs,
		Example: "  configctl context list",
		RunE: func(*cobra.Command, []string) error {
			s, err := c.loadSettings()
			if err != nil {
				return err
			}
			t := table{head: []string{"", "NAME", "SERVER", "NAMESPACE", "ACTOR"}}
			for _, name := range slices.Sorted(maps.Keys(s.Contexts)) {
				mark := ""
				if name == s.Current {
					mark = "*"
				}
				one := s.Contexts[name]
				t.add(mark, name, one.Server, one.Namespace, one.Actor)
			}
			return c.print(answer{data: map[string]any{"current": s.Current, "contexts": s.Contexts}, table: t, value: column(t, 1)})
		},
	}
	use := &cobra.Command{
		Use: "use NAME", Short: "use a context from now on", Args: cobra.ExactArgs(1),
		Example:           "  configctl context use production",
		ValidArgsFunction: c.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := c.loadSettings()
			if err != nil {
				return err
			}
			if _, there := s.Contexts[args[0]]; !there {
				return usagef("there is no context %q: configctl context set %s --server URL makes it", args[0], args[0])
			}
			s.Current = args[0]
			return c.saveSettings(s)
		},
	}
	set := &cobra.Command{
		Use: "set NAME", Short: "make or change a context", Args: cobra.ExactArgs(1),
		Long: "Makes or changes a context from --server, --namespace and --actor: what is not given\n" +
			"stays. The first context that is made is used from then on.",
		Example: "  configctl context set production --server https://config.example.org -n shop",
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := c.loadSettings()
			if err != nil {
				return err
			}
			one := s.Contexts[args[0]]
			for _, member := range []struct {
				to   *string
				from string
			}{{&one.Server, c.server}, {&one.Namespace, c.flags.namespace}, {&one.Actor, c.flags.actor}} {
				if member.from != "" {
					*member.to = member.from
				}
			}
			if one == (setting{}) {
				return usagef("a context needs --server, --namespace or --actor")
			}
			if s.Contexts == nil {
				s.Contexts, s.Current = map[string]setting{}, args[0]
			}
			s.Contexts[args[0]] = one
			return c.saveSettings(s)
		},
	}
	return group("context", "named places: server, namespace and actor", list, use, set)
}

func (c *cli) completeContexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	s, err := c.loadSettings()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return slices.Sorted(maps.Keys(s.Contexts)), cobra.ShellCompDirectiveNoFileComp
}
