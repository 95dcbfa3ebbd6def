// Package otelkey makes metrics of OpenTelemetry of the events of a Guard, and of the packages
// cachestore and streams:
//
//	metrics, err := otelkey.New(otel.GetMeterProvider(), nil)
//	guard := httpkey.New(store, limiter, &httpkey.Options{Observers: []httpkey.Observer{metrics}})
//
// No attribute of a metric has the ID of a token, a user or an address.
package otelkey
