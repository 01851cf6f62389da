package conformance

import (
	"io"
	"maps"
	"slices"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// coverage is what the bodies have exercised on coordd. A nil one counts nothing.
type coverage struct {
	mu     sync.Mutex
	calls  map[string]bool                // by short method
	fields map[protoreflect.FullName]bool // set at least once to something but zero
	values map[protoreflect.FullName]bool // of enums
	errors map[string]map[string]bool     // texts by short method
	paths  map[string]map[int]bool        // status by HTTP method and path
}

func newCoverage() *coverage {
	return &coverage{
		calls:  map[string]bool{},
		fields: map[protoreflect.FullName]bool{},
		values: map[protoreflect.FullName]bool{},
		errors: map[string]map[string]bool{},
		paths:  map[string]map[int]bool{},
	}
}

func (c *coverage) called(method string, req proto.Message, err error) {
	if c == nil {
		return
	}
	c.mu.Lock()
	c.calls[shortMethod(method)] = true
	c.message(req.ProtoReflect())
	c.mu.Unlock()
	if err != nil {
		c.failed(method, err)
	}
}

func (c *coverage) answered(method string, resp proto.Message) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.message(resp.ProtoReflect())
}

// failed counts an error, but for the end of a stream and for what the caller wanted.
func (c *coverage) failed(method string, err error) {
	code := status.Code(err)
	if c == nil || err == io.EOF || code == codes.Canceled || code == codes.DeadlineExceeded {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	texts := c.errors[shortMethod(method)]
	if texts == nil {
		texts = map[string]bool{}
		c.errors[shortMethod(method)] = texts
	}
	texts[errorText(err)] = true
}

// requested counts an HTTP request and its answer.
func (c *coverage) requested(path string, status int) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paths[path] == nil {
		c.paths[path] = map[int]bool{}
	}
	c.paths[path][status] = true
}

func (c *coverage) message(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		c.fields[f.FullName()] = true
		switch {
		case f.Enum() != nil && f.IsList():
			for i := range v.List().Len() {
				c.value(f.Enum(), v.List().Get(i).Enum())
			}
		case f.Enum() != nil:
			c.value(f.Enum(), v.Enum())
		case f.IsMap():
		case f.Message() != nil && f.IsList():
			for i := range v.List().Len() {
				c.message(v.List().Get(i).Message())
			}
		case f.Message() != nil:
			c.message(v.Message())
		}
		return true
	})
}

func (c *coverage) value(enum protoreflect.EnumDescriptor, number protoreflect.EnumNumber) {
	if value := enum.Values().ByNumber(number); value != nil {
		c.values[value.FullName()] = true
	}
}

func (c *coverage) errorsOf(method string) []string {
	return slices.Sorted(maps.Keys(c.errors[method]))
}
