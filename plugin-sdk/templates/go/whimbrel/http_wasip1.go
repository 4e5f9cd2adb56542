package whimbrel

// wasi:http, by the canonical ABI.

import (
	"runtime"
	"strings"
	"unsafe"
)

var outsideHTTP webCalls = wasiHTTP{}

type wasiHTTP struct{}

//go:wasmimport wasi:http/types@0.2.12 [constructor]fields
func newFields() uint32

//go:wasmimport wasi:http/types@0.2.12 [constructor]outgoing-request
func newRequest(fields uint32) uint32

//go:wasmimport wasi:http/types@0.2.12 [method]outgoing-request.set-scheme
func setScheme(request, some, scheme uint32, other unsafe.Pointer, otherLen uint32) uint32

//go:wasmimport wasi:http/types@0.2.12 [method]outgoing-request.set-authority
func setAuthority(request, some uint32, authority unsafe.Pointer, authorityLen uint32) uint32

//go:wasmimport wasi:http/types@0.2.12 [method]outgoing-request.set-path-with-query
func setPath(request, some uint32, path unsafe.Pointer, pathLen uint32) uint32

//go:wasmimport wasi:http/types@0.2.12 [resource-drop]outgoing-request
func dropRequest(request uint32)

//go:wasmimport wasi:http/outgoing-handler@0.2.12 handle
func importHandle(request, some, options uint32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.12 [method]future-incoming-response.subscribe
func subscribe(future uint32) uint32

//go:wasmimport wasi:http/types@0.2.12 [method]future-incoming-response.get
func getResponse(future uint32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.12 [resource-drop]future-incoming-response
func dropFuture(future uint32)

//go:wasmimport wasi:io/poll@0.2.12 [method]pollable.block
func block(pollable uint32)

//go:wasmimport wasi:io/poll@0.2.12 [resource-drop]pollable
func dropPollable(pollable uint32)

//go:wasmimport wasi:http/types@0.2.12 [method]incoming-response.status
func responseStatus(response uint32) uint32

//go:wasmimport wasi:http/types@0.2.12 [method]incoming-response.consume
func consume(response uint32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.12 [resource-drop]incoming-response
func dropResponse(response uint32)

//go:wasmimport wasi:http/types@0.2.12 [method]incoming-body.stream
func bodyStream(body uint32, result unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.12 [resource-drop]incoming-body
func dropBody(body uint32)

//go:wasmimport wasi:io/streams@0.2.12 [method]input-stream.blocking-read
func blockingRead(stream uint32, length uint64, result unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.12 [resource-drop]input-stream
func dropStream(stream uint32)

//go:wasmimport wasi:io/error@0.2.12 [resource-drop]error
func dropError(err uint32)

// By their number in error-code.
var httpErrors = strings.Split("DNS timeout,DNS error,destination not found,destination unavailable,"+
	"destination address prohibited,destination address unroutable,connection refused,connection terminated,"+
	"connection timeout,connection read timeout,connection write timeout,connection limit reached,TLS protocol error,"+
	"TLS certificate error,TLS alert received,"+
	"not granted; the agent's log says which grant would allow it,request length required,request body size,"+
	"request method invalid,request URI invalid,request URI too long,request header section size,request header size,"+
	"request trailer section size,request trailer size,response incomplete,response header section size,"+
	"response header size,response body size,response trailer section size,response trailer size,"+
	"response transfer coding,response content coding,response timeout,upgrade failed,protocol error,loop detected,"+
	"configuration error,internal error", ",")

func httpError(url string, code uint8) error {
	if int(code) < len(httpErrors) {
		return unavailable(url, httpErrors[code])
	}
	return unavailable(url, "error of HTTP")
}

// result<own, _>
type handle struct {
	failed uint8
	value  uint32
}

func (wasiHTTP) get(url string) (Response, error) {
	scheme, rest, _ := strings.Cut(url, "://")
	authority, path, _ := strings.Cut(rest, "/")
	path = "/" + path
	if (scheme != "http" && scheme != "https") || authority == "" {
		return Response{}, &Error{Kind: Invalid, Text: url + ": give http://HOST:PORT/PATH"}
	}
	secure := uint32(0)
	if scheme == "https" {
		secure = 1
	}
	request := newRequest(newFields())
	text := func(of string) (unsafe.Pointer, uint32) {
		return unsafe.Pointer(unsafe.StringData(of)), uint32(len(of))
	}
	authorityAt, authorityLen := text(authority)
	pathAt, pathLen := text(path)
	refused := setScheme(request, 1, secure, nil, 0) + setAuthority(request, 1, authorityAt, authorityLen) +
		setPath(request, 1, pathAt, pathLen)
	runtime.KeepAlive(authority)
	runtime.KeepAlive(path)
	if refused != 0 {
		dropRequest(request)
		return Response{}, &Error{Kind: Invalid, Text: url + ": no URL that can be asked for"}
	}
	// result<own<future>, error-code>, at 8 because an error-code holds 64 bits.
	var sent [6]uint64
	importHandle(request, 0, 0, unsafe.Pointer(&sent))
	if uint8(sent[0]) != 0 {
		return Response{}, httpError(url, uint8(sent[1]))
	}
	future := uint32(sent[1])
	defer dropFuture(future)
	ready := subscribe(future)
	block(ready)
	dropPollable(ready)
	// option<result<result<own<response>, error-code>>>: each of the three has its case in 8 bytes.
	var came [8]uint64
	getResponse(future, unsafe.Pointer(&came))
	if uint8(came[0]) == 0 || uint8(came[1]) != 0 {
		return Response{}, unavailable(url, "no answer")
	}
	if uint8(came[2]) != 0 {
		return Response{}, httpError(url, uint8(came[3]))
	}
	response := uint32(came[3])
	defer dropResponse(response)
	body, err := readBody(url, response)
	return Response{Status: int(responseStatus(response)), Body: body}, err
}

func readBody(url string, response uint32) ([]byte, error) {
	var body, stream handle
	consume(response, unsafe.Pointer(&body))
	if body.failed != 0 {
		return nil, unavailable(url, "the answer has no body")
	}
	defer dropBody(body.value)
	bodyStream(body.value, unsafe.Pointer(&stream))
	if stream.failed != 0 {
		return nil, unavailable(url, "the answer has no body")
	}
	defer dropStream(stream.value)
	var content []byte
	for {
		var result struct {
			failed uint8
			part   span
		}
		blockingRead(stream.value, 1<<16, unsafe.Pointer(&result))
		const closed = 1
		if result.failed != 0 {
			if uint8(result.part.at) == closed {
				return content, nil
			}
			dropError(result.part.len)
			return nil, unavailable(url, "the answer broke off")
		}
		content = append(content, taken(result.part)...)
		if len(content) > most {
			return nil, &Error{Kind: TooLarge, Limit: most}
		}
	}
}
