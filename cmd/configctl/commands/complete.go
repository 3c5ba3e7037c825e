package commands

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/config-api/config-api/shared/client"
)

const (
	// completionTimeout is how long a person waits for a completion.
	completionTimeout = time.Second
	mostCompletions   = 200
)

// completeNames offers the names that there are. Without an answer it offers nothing:
// a shell is no place for errors.
func (c *cli) completeNames(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	ctx, stop := context.WithTimeout(cmd.Context(), completionTimeout)
	defer stop()
	api, err := c.connect(client.WithAttempts(1))
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	page, err := api.ns.ListPage(ctx, begun, mostCompletions, "")
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names := make([]string, 0, len(page.Items))
	for _, item := range page.Items {
		names = append(names, item.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (c *cli) completeNamespaces(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	ctx, stop := context.WithTimeout(cmd.Context(), completionTimeout)
	defer stop()
	api, err := c.connect(client.WithAttempts(1))
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	all, err := api.Namespaces(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names := make([]string, 0, len(all))
	for _, one := range all {
		if strings.HasPrefix(one.Namespace, begun) {
			names = append(names, one.Namespace)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
