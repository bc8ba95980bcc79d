using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.SampleStore;

public static class SampleStoreHosting
{
    /// <summary>The place of samples, as <see cref="ISampleStore"/>, by <c>METRICS_STORAGE_BACKEND</c>. Comes after <c>AddPostgres</c>.</summary>
    public static IHostApplicationBuilder AddSampleStore(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<SeriesGuardOptions>();
        var backend = builder.AddSettings<SampleStoreOptions>().Backend;
        if (backend == StorageBackend.Memory)
        {
            builder.Services.AddSingleton<MemorySampleStore>();
            builder.Services.AddSingleton<ISampleStore>(services => services.GetRequiredService<MemorySampleStore>());
            return builder;
        }

        builder.AddMigrations("SampleStore", typeof(SampleStoreHosting).Assembly);
        if (backend == StorageBackend.Prometheus)
        {
            builder.AddRemoteEngine();
            builder.Services.AddSingleton<ISampleStore, RemoteSampleStore>();
            return builder;
        }

        builder.Services.AddSingleton<PostgresSampleStore>();
        builder.Services.AddSingleton<ISampleStore>(services => services.GetRequiredService<PostgresSampleStore>());
        builder.Services.AddHostedService(services => services.GetRequiredService<PostgresSampleStore>());
        return builder;
    }
}
