package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"chancery/cmd/chancery/app"
)

// perspectiveCommand runs a remote validator, and says how to start one.
func perspectiveCommand() *cobra.Command {
	o := app.PerspectiveOptions{Log: os.Stderr}
	cmd := &cobra.Command{
		Use: "perspective", Short: "Run a remote network perspective, which looks at names for a CA from elsewhere", Args: cobra.NoArgs,
		Example: "  chancery perspective pin --dir CA-DIR                                             # on the CA: prints the next line\n" +
			"  chancery perspective --dir DIR --listen :15000 --peer sha256:…                    # elsewhere: prints what goes into chancery.yaml",
	}
	cmd.Flags().StringVar(&o.Listen, "listen", ":15000", "where the CA finds it, `HOST:PORT`")
	cmd.Flags().StringArrayVar(&o.Peers, "peer", nil, "`PIN` of a CA that may ask; repeated for each replica's")
	set := setFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o.Dir, o.Set, o.Env = dirFlag(cmd), *set, os.Environ()
		r, err := app.OpenPerspective(o)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprint(cmd.OutOrStdout(), r.Welcome()); err != nil {
			return fmt.Errorf("printing how to reach the perspective: %w", err)
		}
		return r.Run(cmd.Context())
	}
	cmd.AddCommand(perspectivePinCommand())
	return cmd
}

func perspectivePinCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "pin", Short: "Print this CA's pin, and how to start a perspective for it", Args: cobra.NoArgs,
	}
	set := setFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		text, err := app.PerspectivePin(dirFlag(cmd), *set, os.Environ())
		if err == nil {
			_, err = fmt.Fprint(cmd.OutOrStdout(), text)
		}
		return err
	}
	return cmd
}
