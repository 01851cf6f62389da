package conformance

import (
	"maps"
	"slices"
	"sync"

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
	paths  map[string]bool                // HTTP
}

func newCoverage() *coverage {
	return &coverage{
		calls:  map[string]bool{},
		fields: map[protoreflect.FullName]bool{},
		values: map[protoreflect.FullName]bool{},
		errors: map[string]map[string]bool{},
		paths:  map[string]bool{},
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

func (c *coverage) failed(method string, err error) {
	if c == nil {
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

// requested counts an HTTP path.
func (c *coverage) requested(path string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paths[path] = true
}

func (c *coverage) message(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		c.fields[f.FullName()] = true
		switch {
		case f.Enum() != nil && !f.IsList():
			if value := f.Enum().Values().ByNumber(v.Enum()); value != nil {
				c.values[value.FullName()] = true
			}
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

func (c *coverage) errorsOf(method string) []string {
	return slices.Sorted(maps.Keys(c.errors[method]))
}
