// Package deploy checks the Dockerfile and docker-compose.yml of the project
// with the parsers that BuildKit and Compose use themselves. No engine is
// needed, and none is started: what is checked is that the files are well
// formed, that they refer to what exists, and that the hardening which the
// documentation promises is in them.
package deploy

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

const root = "../.."

func load(t *testing.T, env ...string) *types.Project {
	t.Helper()
	o, err := cli.NewProjectOptions([]string{filepath.Join(root, "docker-compose.yml")},
		cli.WithEnv(env), cli.WithProfiles([]string{"*"}), cli.WithInterpolation(true), cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.LoadProject(context.Background())
	if err != nil {
		t.Fatalf("docker-compose.yml: %v", err)
	}
	return p
}

// TestComposeHardening holds what docs/operations.md says of the containers.
func TestComposeHardening(t *testing.T) {
	p := load(t)
	for _, name := range []string{"chancery", "trust", "certbot"} {
		s, err := p.GetService(name)
		if err != nil {
			t.Fatal(err)
		}
		if !s.ReadOnly {
			t.Errorf("%s: root file system is writable", name)
		}
		if !slices.Equal(s.CapDrop, []string{"ALL"}) {
			t.Errorf("%s: cap_drop is %v, want ALL", name, s.CapDrop)
		}
		if !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s: may gain privileges", name)
		}
		if s.Privileged || s.Pid != "" || s.Ipc != "" || s.NetworkMode == "host" {
			t.Errorf("%s: shares something of the host", name)
		}
	}
	s := p.Services["chancery"]
	if s.User != "65532:65532" || len(s.CapAdd) != 0 {
		t.Errorf("chancery runs as %q with capabilities %v, want 65532:65532 and none", s.User, s.CapAdd)
	}
	if s.HealthCheck == nil || !slices.Equal(s.HealthCheck.Test, []string{"CMD", "/usr/local/bin/chancery", "healthcheck"}) {
		t.Errorf("chancery: health check is %+v", s.HealthCheck)
	}
}

// TestComposeCertbot: the profile obtains a certificate from Chancery by
// http-01 under its network alias, trusts the root from a read-only volume,
// and never sees Chancery's keys.
func TestComposeCertbot(t *testing.T) {
	p := load(t, "CHANCERY_HOST=ca.corp.example")
	s := p.Services["certbot"]
	if !slices.Equal(s.Profiles, []string{"certbot"}) {
		t.Errorf("profiles: %v", s.Profiles)
	}
	directory := "--server=" + *p.Services["chancery"].Environment["CHANCERY_ACME_URL"] + "/acme/directory"
	if !slices.Contains(s.Command, directory) || directory != "--server=https://ca.corp.example:14000/acme/directory" {
		t.Errorf("certbot asks %v, want %s", s.Command, directory)
	}
	aliases := s.Networks["acme"].Aliases
	if !slices.ContainsFunc(aliases, func(a string) bool { return slices.Contains(s.Command, "--domain="+a) }) {
		t.Errorf("certbot asks for a name that is none of its aliases %v: %v", aliases, s.Command)
	}
	if !slices.Contains(p.Services["chancery"].Networks["acme"].Aliases, "ca.corp.example") {
		t.Error("chancery can't be found under CHANCERY_HOST")
	}
	for _, v := range s.Volumes {
		if v.Source == "data" {
			t.Error("certbot sees Chancery's directory")
		}
		if v.Source == "trust" && !v.ReadOnly {
			t.Error("certbot may change the root that it trusts")
		}
	}
	if on := s.DependsOn["trust"]; on.Condition != types.ServiceConditionCompletedSuccessfully {
		t.Errorf("certbot starts on %q of trust", on.Condition)
	}
	if on := p.Services["trust"].DependsOn["chancery"]; on.Condition != types.ServiceConditionHealthy {
		t.Errorf("trust starts on %q of chancery", on.Condition)
	}
}

func stages(t *testing.T) []instructions.Stage {
	t.Helper()
	f, err := os.Open(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	r, err := parser.Parse(f)
	if err != nil {
		t.Fatalf("Dockerfile: %v", err)
	}
	for _, w := range r.Warnings {
		t.Errorf("Dockerfile: %s %v", w.Short, w.Detail)
	}
	s, _, err := instructions.Parse(r.AST, nil)
	if err != nil {
		t.Fatalf("Dockerfile: %v", err)
	}
	return s
}

func find[C instructions.Command](s instructions.Stage) (out []C) {
	for _, c := range s.Commands {
		if c, ok := c.(C); ok {
			out = append(out, c)
		}
	}
	return out
}

func TestDockerfile(t *testing.T) {
	s := stages(t)
	if len(s) != 2 {
		t.Fatalf("%d stages, want 2: build, run", len(s))
	}
	if goMod := goVersion(t); !strings.HasPrefix(s[0].BaseName, "golang:"+goMod) {
		t.Errorf("built on %s, but go.mod asks for Go %s", s[0].BaseName, goMod)
	}
	for _, c := range find[*instructions.CopyCommand](s[0]) {
		for _, path := range c.SourcePaths {
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("COPY: %v", err)
			}
		}
	}
	run := s[1]
	if u := find[*instructions.UserCommand](run); len(u) != 1 || u[0].User != "65532:65532" {
		t.Errorf("USER: %v, want 65532:65532", u)
	}
	if h := find[*instructions.HealthCheckCommand](run); len(h) != 1 || !slices.Equal(h[0].Health.Test, []string{"CMD", "/usr/local/bin/chancery", "healthcheck"}) {
		t.Errorf("HEALTHCHECK: %v", h)
	}
	if e := find[*instructions.EntrypointCommand](run); len(e) != 1 || e[0].PrependShell {
		t.Error("ENTRYPOINT is not in exec form: signals would go to a shell")
	}
	for _, c := range find[*instructions.CopyCommand](run) {
		if c.From != s[0].Name {
			t.Errorf("the image takes %v from %q, want only what was built", c.SourcePaths, c.From)
		}
	}
}

// TestDockerfileCopiesAllRooms: a new top-level folder with Go code must be
// copied too, or the image no longer builds.
func TestDockerfileCopiesAllRooms(t *testing.T) {
	var copied []string
	for _, c := range find[*instructions.CopyCommand](stages(t)[0]) {
		copied = append(copied, c.SourcePaths...)
	}
	folders, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	ignore, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		sources, err := filepath.Glob(filepath.Join(root, f.Name(), "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		if f.Name() == "bench" || (len(sources) == 0 && f.Name() != "cmd") {
			continue
		}
		if !slices.Contains(copied, f.Name()) && !f.Type().IsRegular() {
			t.Errorf("Dockerfile does not copy %s", f.Name())
		}
		if f.IsDir() && !strings.Contains(string(ignore), "\n!"+f.Name()+"\n") {
			t.Errorf(".dockerignore leaves %s out", f.Name())
		}
	}
}

func goVersion(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "\ngo ")
	version, _, _ := strings.Cut(rest, "\n")
	parts := strings.Split(version, ".")
	if len(parts) < 2 {
		t.Fatalf("go.mod: no go version in %q", version)
	}
	return parts[0] + "." + parts[1]
}
