// Package promkey makes metrics of Prometheus of the events of a Guard, and of the packages
// cachestore and streams:
//
//	metrics := promkey.New()
//	prometheus.MustRegister(metrics)
//	guard := httpkey.New(store, limiter, &httpkey.Options{Observers: []httpkey.Observer{metrics}})
//
// The names are those that an OpenTelemetry Collector makes of the metrics of package otelkey, so
// the files dashboard.json and alerts.yaml serve both. No label has the ID of a token, a user or an
// address.
package promkey
