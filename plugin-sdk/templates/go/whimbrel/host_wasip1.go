package whimbrel

// The contract's functions, by the canonical ABI: texts and lists are address and length, what does not fit into one
// result stands where the last parameter says. Memory that the host fills is asked for by cabi_realloc.

import (
	"encoding/json"
	"runtime"
	"strings"
	"time"
	"unsafe"
)

var host calls = agent{}

type agent struct{}

//go:wasmimport whimbrel:plugin/emit@0.1.0 push
func importPush(batch, signal uint32, request unsafe.Pointer, requestLen uint32, with uint32, checkpoint unsafe.Pointer, checkpointLen uint32, result unsafe.Pointer)

//go:wasmimport whimbrel:plugin/clock@0.1.0 now-ns
func importNow() uint64

//go:wasmimport whimbrel:plugin/clock@0.1.0 random
func importRandom(length uint32, result unsafe.Pointer)

//go:wasmimport whimbrel:plugin/log@0.1.0 write
func importLog(level uint32, message unsafe.Pointer, messageLen uint32, fields unsafe.Pointer, fieldsLen uint32)

//go:wasmimport whimbrel:plugin/secrets@0.1.0 reveal
func importReveal(name unsafe.Pointer, nameLen uint32, result unsafe.Pointer)

// A list or a text in memory.
type span struct {
	at  uint32
	len uint32
}

// The contract's error: a case, and at 8 a text or a limit.
type plainError struct {
	kind uint8
	_    [7]uint8
	text span
}

// result<_, error>
type pushResult struct {
	failed uint8
	_      [7]uint8
	err    plainError
}

// result<string, error>: a text is aligned to 4, an error to 8, and so is the whole.
type revealResult struct {
	failed uint8
	_      [7]uint8
	// The text where it succeeded: `err.kind` and what follows it are its address.
	err plainError
}

// What the host was given to fill, until it was read.
var lent = map[uintptr][]uint64{}

//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	if size == 0 {
		return unsafe.Pointer(uintptr(align))
	}
	// Of 64 bits, so that it is aligned for everything there is.
	memory := make([]uint64, (size+7)/8)
	at := unsafe.Pointer(unsafe.SliceData(memory))
	if oldSize > 0 {
		copy(unsafe.Slice((*byte)(at), size), unsafe.Slice((*byte)(old), oldSize))
		delete(lent, uintptr(old))
	}
	lent[uintptr(at)] = memory
	return at
}

// Copies what the host wrote, and takes the memory back.
func taken(of span) []byte {
	if of.len == 0 {
		return nil
	}
	copied := append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(uintptr(of.at))), of.len)...)
	delete(lent, uintptr(of.at))
	return copied
}

func (e plainError) taken() error {
	if Kind(e.kind) == TooLarge {
		return &Error{Kind: TooLarge, Limit: uint64(e.text.at) | uint64(e.text.len)<<32}
	}
	return &Error{Kind: Kind(e.kind), Text: string(taken(e.text))}
}

func (agent) push(signal uint8, request []byte, checkpoint []byte) error {
	var result pushResult
	with := uint32(0)
	if checkpoint != nil {
		with = 1
	}
	const otlp = 2
	importPush(otlp, uint32(signal), unsafe.Pointer(unsafe.SliceData(request)), uint32(len(request)),
		with, unsafe.Pointer(unsafe.SliceData(checkpoint)), uint32(len(checkpoint)), unsafe.Pointer(&result))
	runtime.KeepAlive(request)
	runtime.KeepAlive(checkpoint)
	if result.failed != 0 {
		return result.err.taken()
	}
	return nil
}

func (agent) now() uint64 {
	return importNow()
}

func (agent) random(length uint32) []byte {
	var result span
	importRandom(length, unsafe.Pointer(&result))
	return taken(result)
}

func (agent) log(level Level, message string, fields []string) {
	type pair struct{ key, value span }
	pairs := make([]pair, 0, len(fields)/2)
	for i := 0; i+1 < len(fields); i += 2 {
		pairs = append(pairs, pair{lend(fields[i]), lend(fields[i+1])})
	}
	importLog(uint32(level), unsafe.Pointer(unsafe.StringData(message)), uint32(len(message)),
		unsafe.Pointer(unsafe.SliceData(pairs)), uint32(len(pairs)))
	runtime.KeepAlive(fields)
	runtime.KeepAlive(message)
}

func lend(text string) span {
	return span{uint32(uintptr(unsafe.Pointer(unsafe.StringData(text)))), uint32(len(text))}
}

func (agent) reveal(name string) (string, error) {
	var result revealResult
	importReveal(unsafe.Pointer(unsafe.StringData(name)), uint32(len(name)), unsafe.Pointer(&result))
	runtime.KeepAlive(name)
	if result.failed != 0 {
		return "", result.err.taken()
	}
	return string(taken(*(*span)(unsafe.Pointer(&result.err)))), nil
}

// What the exports answer stands here until the next call.
var answer struct {
	failed uint8
	_      [7]uint8
	err    plainError
	// Keeps the error's text.
	text string
}

func answered(err error) unsafe.Pointer {
	answer.failed, answer.err = 0, plainError{}
	if err != nil {
		own := asError(err)
		answer.failed = 1
		answer.err.kind = uint8(own.Kind)
		answer.text = strings.Clone(own.Text)
		answer.err.text = lend(answer.text)
		if own.Kind == TooLarge {
			answer.err.text = span{uint32(own.Limit), uint32(own.Limit >> 32)}
		}
	}
	return unsafe.Pointer(&answer)
}

//go:wasmexport whimbrel:plugin/lifecycle@0.1.0#init
func exportInit(nameAt, nameLen, configAt, configLen, with, checkpointAt, checkpointLen, intervalMs uint32) unsafe.Pointer {
	context := Context{
		Instance: string(taken(span{nameAt, nameLen})),
		Config:   json.RawMessage(taken(span{configAt, configLen})),
		Interval: time.Duration(intervalMs) * time.Millisecond,
	}
	if with != 0 {
		context.Checkpoint = append([]byte{}, taken(span{checkpointAt, checkpointLen})...)
	}
	return answered(start(context))
}

//go:wasmexport whimbrel:plugin/collect@0.1.0#collect
func exportCollect(deadlineMs uint32) unsafe.Pointer {
	more, err := collectOnce(time.Duration(deadlineMs) * time.Millisecond)
	at := answered(err)
	if err == nil && more {
		answer.err.kind = 1
	}
	return at
}

//go:wasmexport whimbrel:plugin/lifecycle@0.1.0#shutdown
func exportShutdown(deadlineMs uint32) {
	shutdown(time.Duration(deadlineMs) * time.Millisecond)
}
