package main

import "context"

// benchShadow measures how shadows are compared.
func benchShadow(ctx context.Context, _ string) (results []result, err error) {
	for _, measure := range []func(context.Context) ([]result, error){benchComparison, benchVerdict} {
		more, err := measure(ctx)
		results = append(results, more...)
		if err != nil {
			return results, err
		}
	}
	return results, nil
}
