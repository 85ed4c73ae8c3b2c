package exchange

import "context"

// callerKey is under which a detached context holds its caller's.
type callerKey struct{}

// Detach returns a context for a call that must not be broken off once it may have arrived,
// since it makes something that only its answer names. It is never done. But as long as
// the call waits for its turn, the end of caller ends it.
func Detach(caller context.Context) context.Context {
	return context.WithValue(context.WithoutCancel(caller), callerKey{}, caller)
}

// Alone returns a context for a call that is made for several callers: no one's end ends it.
func Alone(ctx context.Context) context.Context {
	return context.WithValue(context.WithoutCancel(ctx), callerKey{}, context.Background())
}

// Waiting is the context that ends a wait.
func Waiting(ctx context.Context) context.Context {
	if caller, ok := ctx.Value(callerKey{}).(context.Context); ok {
		return caller
	}
	return ctx
}
