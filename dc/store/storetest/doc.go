// Package storetest makes stores for tests, and checks at the end of each test that the store is sound: that
// digest, index and disk agree. Only tests import it; its functions may be called from the test goroutine.
package storetest
