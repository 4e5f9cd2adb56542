//go:build !wasip1

package whimbrel

import (
	"strings"
	"time"
)

// TestHost stands in for the agent in `go test`.
type TestHost struct {
	// Time stands still.
	Time time.Time
	// Secrets that are granted.
	Secrets map[string]string
	// Files that are granted, by path.
	Files map[string][]byte
	// Answers that are granted, by URL.
	Answers map[string]Response
	// Lines that were logged, message and fields.
	Lines [][]string
	// Pushed requests: OTLP, metrics and logs.
	Metrics [][]byte
	Logs    [][]byte
	// Checkpoint is the last one that was pushed.
	Checkpoint []byte
}

var (
	host         calls     = &TestHost{}
	outsideFiles fileCalls = &TestHost{}
	outsideHTTP  webCalls  = &TestHost{}
)

// Test has plugins run on this host from now on.
func Test(on *TestHost) {
	host, outsideFiles, outsideHTTP = on, on, on
}

// Points tells what an Emit holds: metric name, number of bytes of its points.
func (e *Emit) Points() map[string]int {
	found := map[string]int{}
	for _, one := range e.metrics {
		found[one.metric.Name] = len(one.points)
	}
	return found
}

// Records tells whether an Emit holds log records.
func (e *Emit) Records() bool {
	return len(e.records) > 0
}

func (h *TestHost) push(signal uint8, request []byte, checkpoint []byte) error {
	if signal == 0 {
		h.Metrics = append(h.Metrics, request)
	} else {
		h.Logs = append(h.Logs, request)
	}
	if checkpoint != nil {
		h.Checkpoint = checkpoint
	}
	return nil
}

func (h *TestHost) now() uint64 {
	return uint64(h.Time.UnixNano())
}

func (h *TestHost) random(length uint32) []byte {
	return make([]byte, length)
}

func (h *TestHost) log(_ Level, message string, fields []string) {
	h.Lines = append(h.Lines, append([]string{message}, fields...))
}

func (h *TestHost) reveal(name string) (string, error) {
	if secret, ok := h.Secrets[name]; ok {
		return secret, nil
	}
	return "", &Error{Kind: Denied, Text: "the secret " + name + " is not granted"}
}

func (h *TestHost) get(url string) (Response, error) {
	if answer, ok := h.Answers[url]; ok {
		return answer, nil
	}
	return Response{}, unavailable(url, "not granted")
}

func (h *TestHost) readFile(path string) ([]byte, error) {
	if content, ok := h.Files[path]; ok {
		return content, nil
	}
	return nil, unavailable(path, "no entry")
}

func (h *TestHost) readFolder(path string) ([]Entry, error) {
	folders := map[string]bool{}
	var entries []Entry
	for file := range h.Files {
		inside, ok := strings.CutPrefix(file, strings.TrimSuffix(path, "/")+"/")
		if !ok {
			continue
		}
		name, _, isFolder := strings.Cut(inside, "/")
		if isFolder && folders[name] {
			continue
		}
		folders[name] = isFolder
		entries = append(entries, Entry{Name: name, IsFolder: isFolder})
	}
	return entries, nil
}
