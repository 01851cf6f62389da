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
	elections, holds, barriers := coordv1.NewElectionsClient(conn), coordv1.NewHoldsClient(conn), coordv1.NewBarriersClient(conn)
	return errors.Join(
		routeStream(mux, "/coord.v1/locks/acquire", coordv1.Locks_Acquire_FullMethodName, locks.Acquire),
		route(mux, "/coord.v1/locks/list", coordv1.Locks_List_FullMethodName, locks.List),
		routeStream(mux, "/coord.v1/semaphores/acquire", coordv1.Semaphores_Acquire_FullMethodName, semaphores.Acquire),
		route(mux, "/coord.v1/semaphores/setlimit", coordv1.Semaphores_SetLimit_FullMethodName, semaphores.SetLimit),
		route(mux, "/coord.v1/semaphores/getlimit", coordv1.Semaphores_GetLimit_FullMethodName, semaphores.GetLimit),
		route(mux, "/coord.v1/semaphores/list", coordv1.Semaphores_List_FullMethodName, semaphores.List),
		routeStream(mux, "/coord.v1/elections/campaign", coordv1.Elections_Campaign_FullMethodName, elections.Campaign),
		route(mux, "/coord.v1/elections/proclaim", coordv1.Elections_Proclaim_FullMethodName, elections.Proclaim),
		route(mux, "/coord.v1/elections/transfer", coordv1.Elections_Transfer_FullMethodName, elections.Transfer),
		route(mux, "/coord.v1/elections/getleader", coordv1.Elections_GetLeader_FullMethodName, elections.GetLeader),
		routeStream(mux, "/coord.v1/elections/observe", coordv1.Elections_Observe_FullMethodName, elections.Observe),
		route(mux, "/coord.v1/elections/list", coordv1.Elections_List_FullMethodName, elections.List),
		route(mux, "/coord.v1/holds/release", coordv1.Holds_Release_FullMethodName, holds.Release),
		route(mux, "/coord.v1/holds/verify", coordv1.Holds_Verify_FullMethodName, holds.Verify),
		route(mux, "/coord.v1/holds/asktorelease", coordv1.Holds_AskToRelease_FullMethodName, holds.AskToRelease),
		route(mux, "/coord.v1/holds/abandon", coordv1.Holds_Abandon_FullMethodName, holds.Abandon),
		route(mux, "/coord.v1/barriers/hold", coordv1.Barriers_Hold_FullMethodName, barriers.Hold),
		route(mux, "/coord.v1/barriers/release", coordv1.Barriers_Release_FullMethodName, barriers.Release),
		route(mux, "/coord.v1/barriers/wait", coordv1.Barriers_Wait_FullMethodName, barriers.Wait),
	)
}
