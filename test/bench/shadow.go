package main

import "context"

// benchShadow measures how shadows are compared, and what people notice of them.
func benchShadow(ctx context.Context, repository string) (results []result, err error) {
	alone := func(measure func(context.Context) ([]result, error)) func(context.Context, string) ([]result, error) {
		return func(ctx context.Context, _ string) ([]result, error) { return measure(ctx) }
	}
	for _, measure := range []func(context.Context, string) ([]result, error){alone(benchComparison), alone(benchVerdict), benchLive, benchPromote, benchIngress} {
		more, err := measure(ctx, repository)
		results = append(results, more...)
		if err != nil {
			return results, err
		}
	}
	return results, nil
}
