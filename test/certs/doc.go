// Package certs is a test kit: certificates for connections over TLS between parties that run in one process.
package certs
