package httpapi

import (
	"errors"

	"github.com/coordd/coordd/proto/coordv1"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
)

// routeCoord serves coord.v1 below /coord.v1/<service>/<method>.
func routeCoord(mux *runtime.ServeMux, conn grpc.ClientConnInterface) error {
	locks, semaphores := coordv1.NewLocksClient(conn), coordv1.NewSemaphoresClient(conn)
	elections, holds := coordv1.NewElectionsClient(conn), coordv1.NewHoldsClient(conn)
	return errors.Join(
		routeStream(mux, "/coord.v1/locks/acquire", coordv1.Locks_Acquire_FullMethodName, locks.Acquire),
		routeStream(mux, "/coord.v1/semaphores/acquire", coordv1.Semaphores_Acquire_FullMethodName, semaphores.Acquire),
		route(mux, "/coord.v1/semaphores/setlimit", coordv1.Semaphores_SetLimit_FullMethodName, semaphores.SetLimit),
		route(mux, "/coord.v1/semaphores/getlimit", coordv1.Semaphores_GetLimit_FullMethodName, semaphores.GetLimit),
		routeStream(mux, "/coord.v1/elections/campaign", coordv1.Elections_Campaign_FullMethodName, elections.Campaign),
		route(mux, "/coord.v1/elections/proclaim", coordv1.Elections_Proclaim_FullMethodName, elections.Proclaim),
		route(mux, "/coord.v1/elections/transfer", coordv1.Elections_Transfer_FullMethodName, elections.Transfer),
		route(mux, "/coord.v1/elections/getleader", coordv1.Elections_GetLeader_FullMethodName, elections.GetLeader),
		routeStream(mux, "/coord.v1/elections/observe", coordv1.Elections_Observe_FullMethodName, elections.Observe),
		route(mux, "/coord.v1/holds/release", coordv1.Holds_Release_FullMethodName, holds.Release),
		route(mux, "/coord.v1/holds/verify", coordv1.Holds_Verify_FullMethodName, holds.Verify),
		route(mux, "/coord.v1/holds/abandon", coordv1.Holds_Abandon_FullMethodName, holds.Abandon),
	)
}
