// Package app puts Chancery together: it is the only place that knows all
// parts. [Open] reads the configuration, takes the directory's lock, opens the
// store and the keys, binds the listeners and wires engine, doors and
// publication to each other; [App.Run] serves until its context ends and then
// lets what is in flight come to its end.
//
// The configuration is one value, strict and complete before anything opens:
// [ReadConfig] reports every mistake of file, environment and flags together
// (see keys.go, the one table of keys). [Init] founds a new directory in a
// staging folder and moves it into place with the configuration file last, so
// that a directory either has a chancery.yaml and is whole, or is not one.
package app
