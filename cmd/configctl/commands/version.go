package commands

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (c *cli) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "print the version of this program", Args: cobra.NoArgs,
		Example: "  configctl version",
		RunE: func(*cobra.Command, []string) error {
			data := map[string]string{"version": buildVersion(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
			return c.print(answer{data: data, text: buildVersion(), value: []string{buildVersion()}})
		},
	}
}

// buildVersion is what the build says about itself.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}
