package app

import (
	"runtime/debug"
	"strings"
)

// release is set by the linker (-X chancery/cmd/chancery/app.release=v1.2.3).
var release string

// Version is the release, else what the Go toolchain knows of the source.
func Version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return strings.TrimPrefix(v, "v")
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			const short = 12
			return "devel-" + s.Value[:min(len(s.Value), short)]
		}
	}
	return "devel"
}
