package whimbrel

import "encoding/json"

// Response is an answer, whatever its status.
type Response struct {
	Status int
	Body   []byte
}

// JSON fills a structure from the body.
func (r Response) JSON(into any) error {
	return json.Unmarshal(r.Body, into)
}

// Entry is something in a folder.
type Entry struct {
	Name     string
	IsFolder bool
}

// The most that is read of one file or answer.
const most = 8 << 20

// HTTPGet gets a URL, which `grants: {http: ["http://HOST:PORT"]}` allows. Redirects are answers like others, and not
// followed; a body may have 8 MiB.
func HTTPGet(url string) (Response, error) {
	return outsideHTTP.get(url)
}

// ReadFile reads a file of at most 8 MiB, which `grants: {read: [FOLDER]}` allows.
func ReadFile(path string) ([]byte, error) {
	return outsideFiles.readFile(path)
}

// ReadFolder tells what is in a folder, which `grants: {read: [FOLDER]}` allows, or one above it.
func ReadFolder(path string) ([]Entry, error) {
	return outsideFiles.readFolder(path)
}

// Apart from each other, so that a plugin imports what it uses.
type webCalls interface {
	get(url string) (Response, error)
}

type fileCalls interface {
	readFile(path string) ([]byte, error)
	readFolder(path string) ([]Entry, error)
}

func unavailable(what, why string) error {
	return &Error{Kind: Unavailable, Text: what + ": " + why}
}
