package whimbrel

// wasi:filesystem, by the canonical ABI.

import (
	"runtime"
	"strings"
	"unsafe"
)

var outsideFiles fileCalls = wasiFiles{}

type wasiFiles struct{}

//go:wasmimport wasi:filesystem/preopens@0.2.12 get-directories
func importDirectories(result unsafe.Pointer)

//go:wasmimport wasi:filesystem/types@0.2.12 [method]descriptor.open-at
func importOpenAt(folder, pathFlags uint32, path unsafe.Pointer, pathLen, openFlags, flags uint32, result unsafe.Pointer)

//go:wasmimport wasi:filesystem/types@0.2.12 [method]descriptor.read
func importRead(file uint32, length, offset uint64, result unsafe.Pointer)

//go:wasmimport wasi:filesystem/types@0.2.12 [method]descriptor.read-directory
func importReadDirectory(folder uint32, result unsafe.Pointer)

//go:wasmimport wasi:filesystem/types@0.2.12 [method]directory-entry-stream.read-directory-entry
func importReadEntry(stream uint32, result unsafe.Pointer)

//go:wasmimport wasi:filesystem/types@0.2.12 [resource-drop]descriptor
func dropDescriptor(descriptor uint32)

//go:wasmimport wasi:filesystem/types@0.2.12 [resource-drop]directory-entry-stream
func dropEntries(stream uint32)

const (
	followLinks = 1
	openFolder  = 2
	forReading  = 1
)

// By their number in the enumeration.
var fileErrors = strings.Fields(`access would-block already bad-descriptor busy deadlock quota exist file-too-large
	illegal-byte-sequence in-progress interrupted invalid io is-directory loop too-many-links message-size name-too-long
	no-device no-entry no-lock insufficient-memory insufficient-space not-directory not-empty not-recoverable unsupported
	no-tty no-such-device overflow not-permitted pipe read-only invalid-seek text-file-busy cross-device`)

func fileError(path string, code uint8) error {
	why := "error of the file system"
	if int(code) < len(fileErrors) {
		why = strings.ReplaceAll(fileErrors[code], "-", " ")
	}
	return unavailable(path, why)
}

// Opens by the granted folder that holds it most closely.
func openFile(path string, openFlags uint32) (uint32, error) {
	var list span
	importDirectories(unsafe.Pointer(&list))
	type directory struct {
		descriptor uint32
		name       span
	}
	raw := taken(span{list.at, list.len * uint32(unsafe.Sizeof(directory{}))})
	directories := unsafe.Slice((*directory)(unsafe.Pointer(unsafe.SliceData(raw))), list.len)
	folder, root, found := uint32(0), "", false
	for _, one := range directories {
		name := string(taken(one.name))
		inside := strings.TrimSuffix(name, "/") + "/"
		if strings.HasPrefix(path+"/", inside) && (!found || len(inside) > len(root)) {
			if found {
				dropDescriptor(folder)
			}
			folder, root, found = one.descriptor, inside, true
		} else {
			dropDescriptor(one.descriptor)
		}
	}
	runtime.KeepAlive(raw)
	if !found {
		return 0, &Error{Kind: Denied, Text: path + ": no granted folder holds it; grants: {read: [FOLDER]}"}
	}
	defer dropDescriptor(folder)
	name := "."
	if len(path) > len(root) {
		name = path[len(root):]
	}
	var result struct {
		failed uint8
		value  uint32
	}
	importOpenAt(folder, followLinks, unsafe.Pointer(unsafe.StringData(name)), uint32(len(name)), openFlags, forReading,
		unsafe.Pointer(&result))
	runtime.KeepAlive(name)
	if result.failed != 0 {
		return 0, fileError(path, uint8(result.value))
	}
	return result.value, nil
}

func (wasiFiles) readFile(path string) ([]byte, error) {
	file, err := openFile(path, 0)
	if err != nil {
		return nil, err
	}
	defer dropDescriptor(file)
	var content []byte
	for {
		var result struct {
			failed uint8
			part   span
			end    uint8
		}
		importRead(file, 1<<16, uint64(len(content)), unsafe.Pointer(&result))
		if result.failed != 0 {
			return nil, fileError(path, uint8(result.part.at))
		}
		content = append(content, taken(result.part)...)
		if len(content) > most {
			return nil, &Error{Kind: TooLarge, Limit: most}
		}
		if result.end != 0 {
			return content, nil
		}
	}
}

func (wasiFiles) readFolder(path string) ([]Entry, error) {
	folder, err := openFile(path, openFolder)
	if err != nil {
		return nil, err
	}
	defer dropDescriptor(folder)
	var opened struct {
		failed uint8
		value  uint32
	}
	importReadDirectory(folder, unsafe.Pointer(&opened))
	if opened.failed != 0 {
		return nil, fileError(path, uint8(opened.value))
	}
	defer dropEntries(opened.value)
	const directory = 3
	var entries []Entry
	for {
		var result struct {
			failed uint8
			some   uint32 // The case of the option, or of the error.
			kind   uint32 // Only its first byte is written.
			name   span
		}
		importReadEntry(opened.value, unsafe.Pointer(&result))
		if result.failed != 0 {
			return nil, fileError(path, uint8(result.some))
		}
		if uint8(result.some) == 0 {
			return entries, nil
		}
		entries = append(entries, Entry{Name: string(taken(result.name)), IsFolder: uint8(result.kind) == directory})
	}
}
