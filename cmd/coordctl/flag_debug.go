package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc/grpclog"
)

// showDebug writes the global flags as they are in force, without secrets, and has the connections tell what they do.
func showDebug(w io.Writer, flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		value := f.Value.String()
		switch {
		case value == "":
		case f.Name == "user":
			value, _, _ = strings.Cut(value, ":")
		case f.Name == "password", f.Name == "auth-jwt-token":
			value = "…"
		}
		fmt.Fprintf(w, "%s=%s\n", variableOf("COORDCTL_", f.Name), value)
	})
	grpclog.SetLoggerV2(grpclog.NewLoggerV2WithVerbosity(os.Stderr, os.Stderr, os.Stderr, 4))
}

// debugLogger is the client's log of its retries.
func debugLogger() *zap.Logger {
	encoder := zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig())
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(os.Stderr), zap.DebugLevel))
}

func variableOf(prefix, flag string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}
