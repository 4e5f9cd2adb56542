package whimbrel

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"sort"
	"time"
)

// Attributes of a series or of a log record: strings, booleans, integers, floats; anything else goes as JSON text.
type Attributes map[string]any

// Metric is what a series is of; units are UCUM: "By", "s", "1", "{request}".
type Metric struct {
	Name        string
	Unit        string
	Description string
}

// OTLP's severities.
const (
	SeverityDebug = 5
	SeverityInfo  = 9
	SeverityWarn  = 13
	SeverityError = 17
)

// Record is a log record.
type Record struct {
	// Time is when it happened; zero where that is not known.
	Time         time.Time
	Severity     int
	SeverityText string
	Body         string
	Attributes   Attributes
}

// Emit takes points and records, and pushes them when Collect returns. It holds encoded OTLP
// (https://opentelemetry.io/docs/specs/otlp; opentelemetry-proto 1.x gives the numbers of the fields).
type Emit struct {
	metrics []series
	records message
}

type kind uint8

const (
	gauge kind = iota
	counter
	upDownCounter
)

type series struct {
	metric Metric
	kind   kind
	points message
}

// Gauge emits a point of a gauge. The value is an integer or a float.
func (e *Emit) Gauge(metric Metric, value any, attributes Attributes) {
	e.point(metric, gauge, time.Time{}, value, attributes)
}

// Counter emits a point of a counter, which began at since.
func (e *Emit) Counter(metric Metric, since time.Time, value any, attributes Attributes) {
	e.point(metric, counter, since, value, attributes)
}

// UpDownCounter emits a point of a sum that also falls.
func (e *Emit) UpDownCounter(metric Metric, since time.Time, value any, attributes Attributes) {
	e.point(metric, upDownCounter, since, value, attributes)
}

func (e *Emit) point(metric Metric, kind kind, since time.Time, value any, attributes Attributes) {
	var point message
	if !since.IsZero() {
		point.fixed64(2, uint64(since.UnixNano()))
	}
	point.fixed64(3, host.now())
	if integer, ok := integerOf(value); ok {
		point.fixed64(6, uint64(integer))
	} else {
		point.fixed64(4, math.Float64bits(floatOf(value)))
	}
	point.attributes(7, attributes)
	for i := range e.metrics {
		if e.metrics[i].metric.Name == metric.Name {
			e.metrics[i].points.message(1, point)
			return
		}
	}
	one := series{metric: metric, kind: kind}
	one.points.message(1, point)
	e.metrics = append(e.metrics, one)
}

// Record emits a log record, seen now.
func (e *Emit) Record(record Record) {
	var one message
	if !record.Time.IsZero() {
		one.fixed64(1, uint64(record.Time.UnixNano()))
	}
	one.varint(2, uint64(record.Severity))
	one.text(3, record.SeverityText)
	one.message(5, valueOf(record.Body))
	one.attributes(6, record.Attributes)
	one.fixed64(11, host.now())
	e.records.message(2, one)
}

// Push makes what was emitted durable, with a checkpoint if it is not nil. Push at most about 1000 items at once.
func (e *Emit) Push(checkpoint []byte) error {
	metrics, records := e.metrics, e.records
	*e = Emit{}
	var scope, of message
	scope.text(1, pluginName)
	scope.text(2, pluginVersion)
	of.message(1, scope)
	if len(metrics) > 0 {
		group := append(message{}, of...)
		for _, one := range metrics {
			group.message(2, one.encoded())
		}
		with := checkpoint
		if len(records) > 0 {
			with = nil
		}
		if err := host.push(0, request(group), with); err != nil {
			return err
		}
	}
	if len(records) > 0 {
		return host.push(1, request(append(of, records...)), checkpoint)
	}
	if checkpoint != nil && len(metrics) == 0 {
		return host.push(1, nil, checkpoint)
	}
	return nil
}

// A request of one resource, the agent's own, and one scope.
func request(scoped message) []byte {
	var group, whole message
	group.message(2, scoped)
	whole.message(1, group)
	return whole
}

func (s series) encoded() message {
	const gaugeField, sumField, cumulative = 5, 7, 2
	var metric message
	metric.text(1, s.metric.Name)
	metric.text(2, s.metric.Description)
	metric.text(3, s.metric.Unit)
	if s.kind == gauge {
		metric.message(gaugeField, s.points)
		return metric
	}
	sum := s.points
	sum.varint(2, cumulative)
	if s.kind == counter {
		sum.varint(3, 1)
	}
	metric.message(sumField, sum)
	return metric
}

// A protobuf message being written.
type message []byte

func (m *message) tag(field, wire uint64) {
	*m = binary.AppendUvarint(*m, field<<3|wire)
}

func (m *message) varint(field, value uint64) {
	m.tag(field, 0)
	*m = binary.AppendUvarint(*m, value)
}

func (m *message) fixed64(field, value uint64) {
	m.tag(field, 1)
	*m = binary.LittleEndian.AppendUint64(*m, value)
}

func (m *message) message(field uint64, inner message) {
	m.tag(field, 2)
	*m = binary.AppendUvarint(*m, uint64(len(inner)))
	*m = append(*m, inner...)
}

// Empty is the default, and is left out.
func (m *message) text(field uint64, text string) {
	if text != "" {
		m.message(field, message(text))
	}
}

// In the order of their keys: the same attributes are the same bytes.
func (m *message) attributes(field uint64, attributes Attributes) {
	keys := make([]string, 0, len(attributes))
	for key := range attributes {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		var pair message
		pair.text(1, key)
		pair.message(2, valueOf(attributes[key]))
		m.message(field, pair)
	}
}

// An AnyValue, in which a default is written: it says what kind the value is of.
func valueOf(of any) message {
	var value message
	switch of := of.(type) {
	case string:
		value.message(1, message(of))
	case bool:
		number := uint64(0)
		if of {
			number = 1
		}
		value.varint(2, number)
	case float32, float64:
		value.fixed64(4, math.Float64bits(floatOf(of)))
	default:
		if integer, ok := integerOf(of); ok {
			value.varint(3, uint64(integer))
		} else if text, err := json.Marshal(of); err == nil {
			value.message(1, message(text))
		} else {
			value.message(1, message(fmt.Sprint(of)))
		}
	}
	return value
}

func integerOf(value any) (int64, bool) {
	switch value := value.(type) {
	case int:
		return int64(value), true
	case int8:
		return int64(value), true
	case int16:
		return int64(value), true
	case int32:
		return int64(value), true
	case int64:
		return value, true
	case uint8:
		return int64(value), true
	case uint16:
		return int64(value), true
	case uint32:
		return int64(value), true
	case uint:
		return int64(value), uint64(value) <= math.MaxInt64
	case uint64:
		return int64(value), value <= math.MaxInt64
	default:
		return 0, false
	}
}

// What is no number is not a number.
func floatOf(value any) float64 {
	switch value := value.(type) {
	case float64:
		return value
	case float32:
		return float64(value)
	case uint:
		return float64(value)
	case uint64:
		return float64(value)
	default:
		return math.NaN()
	}
}
