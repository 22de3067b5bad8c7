package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"

	"github.com/spf13/cobra"
)

// operatorCommands are the commands that ask or command a Chancery through
// its admin listener, or through the same handler in this process while it is
// stopped.
func operatorCommands() []*cobra.Command {
	commands := []*cobra.Command{certCommand(), accountCommand(), orderCommand(), eabCommand(), auditCommand(), keyCommand(), limitsCommand()}
	for _, c := range commands {
		c.PersistentFlags().StringArray("set", nil, "configuration as `KEY=VALUE`, before environment and file")
	}
	return commands
}

// withDoor opens the operator's door, runs do, and closes it.
func withDoor(cmd *cobra.Command, do func(d *door) error) (err error) {
	dir, set := "chancery-data", []string(nil)
	if f := cmd.Flag("dir"); f != nil {
		dir = f.Value.String()
	}
	if list, err := cmd.Flags().GetStringArray("set"); err == nil {
		set = list
	}
	d, err := openDoor(cmd.Context(), dir, set)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := d.close(); err == nil {
			err = cerr
		}
	}()
	return do(d)
}

// operatorName is the user's login name, for the audit trail.
func operatorName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

// confirm asks on a terminal; a script is taken to mean what it says.
func confirm(cmd *cobra.Command, yes bool, question string) error {
	if yes || !terminal(cmd.InOrStdin()) {
		return nil
	}
	if _, err := fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", printable(question)); err != nil {
		return err
	}
	answer, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), maxAnswer)).ReadString('\n')
	if err != nil && err != io.EOF {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return fmt.Errorf("not confirmed, nothing was changed")
}

const maxAnswer = 100 // octets of "yes"

// terminal says whether somebody could answer. /dev/null is a character
// device too, and what scripts without input have.
func terminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err == nil && !os.SameFile(info, null)
}
