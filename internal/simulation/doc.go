// Package simulation tries orders of events that nobody thought of: it lets a mount of the engine live in a world where
// time, network, storage and crashes are dice, and checks what must hold whatever happens. It is test code only.
//
// # The world
//
// A seed is one life of a mount, in a bubble of testing/synctest: minutes to hours of fake time, days in one seed of a
// hundred. The seed fixes the steps (the plan) and the traps, which are faults by operation and count. Goroutines stay
// free, so a story says in how many of its repeats it fails.
//
//   - Vault holds leases with their internal data. It renews them with odd increments, early, late and twice. It revokes
//     them singly, by prefix in parallel and at expiry, repeats a failed revocation six times and then calls the lease
//     irrevocable. It loses the answer to a caller who hung up, fails to store leases and renewals, seals, reloads and
//     moves the mount, and ends it. Each minute it calls the periodic function and the rollback.
//   - A crash comes at a storage operation or a call to Palette. From then on storage and network fail for the old node,
//     and a new one with a new process state runs on the same storage. A call that was sent may still reach Palette.
//   - The storage fails at the n-th operation, for a while, below one prefix, before or after the deed, or hands out what
//     cannot be decoded.
//   - Palette is the stand-in of internal/palettetest. Passwords change and keys and sessions end by hand; answers are
//     slow, lost after the deed, 429, 5xx, or cut off in the middle.
//   - People write, change, delete and rotate configs and roles at any moment, several at once.
//
// # The invariants
//
// They are the constants of type invariant. Some are checked at each step, the others also when the faults have ended
// and the mount has had a few minutes ("calm").
//
// docs/development/simulation.md tells how to read a story and how to plant a fault.
package simulation
