package admin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCreateAndReadToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.token")
	token, err := CreateToken(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if got, err := ReadToken(path); err != nil || got != token || len(token) != 43 {
		t.Errorf("read %q, %v; created %q", got, err, token)
	}
	if _, err := CreateToken(path); err == nil {
		t.Error("a token was overwritten")
	}
	if got, _ := ReadToken(path); got != token {
		t.Error("the first token is gone")
	}
}

func TestReadTokenRefuses(t *testing.T) {
	good := strings.Repeat("k", 43)
	for name, c := range map[string]struct {
		content string
		mode    os.FileMode
		want    string
	}{
		"group may read":    {good, 0o640, "0640"},
		"others may write":  {good, 0o602, "0602"},
		"empty":             {"", 0o600, "0 characters"},
		"a newline alone":   {"\r\n", 0o600, "0 characters"},
		"short":             {"secret", 0o600, "6 characters"},
		"two lines":         {good + "\n" + good, 0o600, "printable ASCII"},
		"a space":           {good + " ", 0o600, "printable ASCII"},
		"a byte order mark": {"\ufeff" + good, 0o600, "printable ASCII"},
		"endless":           {strings.Repeat("k", 1<<20), 0o600, "characters"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "admin.token")
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			got, err := ReadToken(path)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("token %q, error %v; want one with %q", got, err, c.want)
			}
			if strings.Contains(err.Error(), good) {
				t.Error("the error shows the token")
			}
		})
	}
	if _, err := ReadToken(t.TempDir()); err == nil {
		t.Error("a directory was taken for a token")
	}
	if _, err := ReadToken(filepath.Join(t.TempDir(), "none")); !os.IsNotExist(err) && !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a missing file: %v", err)
	}
}
