package rpc

import (
	"context"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/coordd/raftnode"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// knownCodes are those of gRPC, in the order of their numbers.
const knownCodes = codes.Unauthenticated + 1

// method is what is counted of one RPC. The hot path looks it up once and adds
// to numbers; names and labels are made when somebody asks.
type method struct {
	labels         []string // type, service, method
	started        atomic.Uint64
	received, sent atomic.Uint64
	handled        [knownCodes]atomic.Uint64
	seconds        prometheus.Histogram // nil unless extensive
}

// methods are a server's, by full name. The map does not change once it serves.
type methods map[string]*method

func newMethods(g *grpc.Server, extensive bool) methods {
	all := methods{}
	for service, info := range g.GetServiceInfo() {
		for _, i := range info.Methods {
			m := &method{labels: []string{methodType(i), service, i.Name}}
			if extensive {
				m.seconds = prometheus.NewHistogram(prometheus.HistogramOpts{
					Name: "grpc_server_handling_seconds", Help: "Time that calls took on the server.", Buckets: prometheus.DefBuckets,
					ConstLabels: prometheus.Labels{"grpc_type": m.labels[0], "grpc_service": service, "grpc_method": i.Name},
				})
			}
			all[path.Join("/", service, i.Name)] = m
		}
	}
	return all
}

func methodType(m grpc.MethodInfo) string {
	switch {
	case m.IsClientStream && m.IsServerStream:
		return "bidi_stream"
	case m.IsClientStream:
		return "client_stream"
	case m.IsServerStream:
		return "server_stream"
	default:
		return "unary"
	}
}

// end notes the end of a call.
func (m *method) end(err error, took time.Duration) {
	code := status.Code(err)
	if code >= knownCodes {
		code = codes.Unknown
	}
	m.handled[code].Add(1)
	if m.seconds != nil {
		m.seconds.Observe(took.Seconds())
	}
}

// observeUnary counts calls and logs those that are slow. It is the outermost
// interceptor.
func (s *Server) observeUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	m := s.methods[info.FullMethod]
	m.started.Add(1)
	m.received.Add(1)
	begin := time.Now()
	ctx, times := raftnode.Timed(ctx)
	response, err := handler(ctx, req)
	took := time.Since(begin)
	m.end(err, took)
	if err == nil {
		m.sent.Add(1)
	}
	if s.SlowRequest > 0 && took >= s.SlowRequest && !waitsByDesign(info.FullMethod) {
		s.slow.log(s.Logger, info.FullMethod, req, err, took, times)
	}
	return response, err
}

// observeStream counts streams and their messages.
func (s *Server) observeStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	m := s.methods[info.FullMethod]
	m.started.Add(1)
	begin := time.Now()
	err := handler(srv, countingStream{stream, m})
	m.end(err, time.Since(begin))
	return err
}

type countingStream struct {
	grpc.ServerStream
	method *method
}

func (s countingStream) SendMsg(m any) error {
	err := s.ServerStream.SendMsg(m)
	if err == nil {
		s.method.sent.Add(1)
	}
	return err
}

func (s countingStream) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	if err == nil {
		s.method.received.Add(1)
	}
	return err
}

// Describe and Collect show the methods under the names of go-grpc-prometheus,
// as etcd does.
func (all methods) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{startedDesc, handledDesc, receivedDesc, sentDesc} {
		out <- d
	}
}

var (
	methodLabels = []string{"grpc_type", "grpc_service", "grpc_method"}
	startedDesc  = prometheus.NewDesc("grpc_server_started_total", "Calls that began.", methodLabels, nil)
	receivedDesc = prometheus.NewDesc("grpc_server_msg_received_total", "Messages received from clients.", methodLabels, nil)
	sentDesc     = prometheus.NewDesc("grpc_server_msg_sent_total", "Messages sent to clients.", methodLabels, nil)
	handledDesc  = prometheus.NewDesc("grpc_server_handled_total", "Calls that ended, by how.", append(methodLabels, "grpc_code"), nil)
)

func (all methods) Collect(out chan<- prometheus.Metric) {
	for _, m := range all {
		counter := func(desc *prometheus.Desc, n uint64, labels ...string) {
			out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
		}
		counter(startedDesc, m.started.Load(), m.labels...)
		counter(receivedDesc, m.received.Load(), m.labels...)
		counter(sentDesc, m.sent.Load(), m.labels...)
		for code := range m.handled {
			counter(handledDesc, m.handled[code].Load(), append(m.labels[:3:3], codes.Code(code).String())...)
		}
	}
}

// Collectors are the server's metrics.
func (s *Server) Collectors() []prometheus.Collector {
	all := []prometheus.Collector{
		s.methods,
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "etcd_network_client_grpc_received_bytes_total",
			Help: "Bytes of the messages received from clients."}, func() float64 { return float64(s.traffic.received.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "etcd_network_client_grpc_sent_bytes_total",
			Help: "Bytes of the messages sent to clients."}, func() float64 { return float64(s.traffic.sent.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "etcd_debugging_mvcc_watch_stream_total",
			Help: "Watch streams that are open."}, func() float64 { return float64(s.methods.open("Watch")) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "coordd_slow_requests_total",
			Help: "Unary calls slower than --warning-unary-request-duration."}, func() float64 { return float64(s.slow.count.Load()) }),
	}
	for _, m := range s.methods {
		if m.seconds != nil {
			all = append(all, m.seconds)
		}
	}
	return all
}

// open returns how many calls of etcd's service of that name are under way.
func (all methods) open(service string) (calls int64) {
	for name, m := range all {
		if strings.HasPrefix(name, "/etcdserverpb."+service+"/") {
			var handled uint64
			for code := range m.handled {
				handled += m.handled[code].Load()
			}
			calls += int64(m.started.Load()) - int64(handled)
		}
	}
	return calls
}
