// Package whimbrel is what a Whimbrel plugin in Go is written with: between a type of yours and the contract.
package whimbrel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Collector is a plugin. It is asked once an interval; more is true where it wants to be asked again at once.
type Collector interface {
	Collect(out *Emit, deadline time.Duration) (more bool, err error)
}

// Ender is a collector that is told of its end.
type Ender interface {
	Shutdown(deadline time.Duration)
}

// Context is what a collector is made with.
type Context struct {
	// Instance is the collector's name in the agent's configuration.
	Instance string
	// Config is JSON; see ReadConfig.
	Config json.RawMessage
	// Checkpoint is what was last pushed with a durable batch; nil where there is none.
	Checkpoint []byte
	// Interval is how often Collect is called.
	Interval time.Duration
}

// ReadConfig fills a struct that holds the defaults. A key that it does not know is an error.
func (c Context) ReadConfig(into any) error {
	decoder := json.NewDecoder(bytes.NewReader(c.Config))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return ConfigError("%v", err)
	}
	return nil
}

// Kind tells errors of the contract apart.
type Kind uint8

// What an error of the contract may be.
const (
	Config Kind = iota
	Denied
	Unavailable
	Invalid
	TooLarge
	Transient
	Permanent
)

// Error is an error of the contract. Any other error that a collector returns is Transient.
type Error struct {
	Kind Kind
	Text string
	// Limit is in bytes, for TooLarge.
	Limit uint64
}

func (e *Error) Error() string {
	if e.Kind == TooLarge {
		return fmt.Sprintf("at most %d bytes", e.Limit)
	}
	return e.Text
}

// ConfigError says what is wrong in the configuration: the agent does not try again.
func ConfigError(format string, arguments ...any) error {
	return &Error{Kind: Config, Text: fmt.Sprintf(format, arguments...)}
}

func asError(err error) *Error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	return &Error{Kind: Transient, Text: err.Error()}
}

// Level is one of the agent's own log.
type Level uint8

// The levels of the agent's own log.
const (
	Trace Level = iota
	Debug
	Info
	Warn
	Err
)

// Log writes a line of the agent's own log; keys and values of the fields come in pairs.
func Log(level Level, message string, fields ...any) {
	pairs := make([]string, 0, len(fields))
	for _, field := range fields {
		pairs = append(pairs, fmt.Sprint(field))
	}
	if len(pairs)%2 != 0 {
		pairs = append(pairs, "")
	}
	host.log(level, message, pairs)
}

// Now is the agent's clock. time.Now gives the same.
func Now() time.Time {
	return time.Unix(0, int64(host.now()))
}

// Random gives unpredictable bytes, at most 65536. crypto/rand gives the same.
func Random(length int) []byte {
	return host.random(uint32(length))
}

// Secret reveals a secret of the configuration, which `grants: {secrets: [NAME]}` allows.
func Secret(name string) (string, error) {
	return host.reveal(name)
}

// What the plugin is, by plugin.yaml: `whimbrel plugin build` sets them.
var (
	pluginName    string
	pluginVersion string
)

// What the plugin asks of the agent, or of a test.
type calls interface {
	push(signal uint8, request []byte, checkpoint []byte) error
	now() uint64
	random(length uint32) []byte
	log(level Level, message string, fields []string)
	reveal(name string) (string, error)
}

var (
	create  func(Context) (Collector, error)
	running Collector
)

// Register says how the plugin is made. Call it in an `init` of package main.
func Register(make func(Context) (Collector, error)) {
	create = make
}

func start(context Context) error {
	if create == nil {
		return &Error{Kind: Permanent, Text: "whimbrel.Register was not called"}
	}
	collector, err := create(context)
	if err != nil {
		return err
	}
	running = collector
	return nil
}

func collectOnce(deadline time.Duration) (bool, error) {
	out := &Emit{}
	more, err := running.Collect(out, deadline)
	if err != nil {
		return false, err
	}
	return more, out.Push(nil)
}

func shutdown(deadline time.Duration) {
	if ender, ok := running.(Ender); ok {
		ender.Shutdown(deadline)
	}
	running = nil
}
