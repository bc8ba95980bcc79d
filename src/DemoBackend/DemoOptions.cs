using System.ComponentModel.DataAnnotations;
using Microsoft.Extensions.Options;

namespace Platform.DemoBackend;

/// <summary>Settings of the demo, under these names in the environment. Checked at start.</summary>
public sealed class DemoOptions
{
    /// <summary><c>on</c>: the backend makes traffic for itself. <c>off</c>: it waits for yours.</summary>
    [ConfigurationKeyName("DEMO_TRAFFIC"), AllowedValues("on", "off", ErrorMessage = "DEMO_TRAFFIC is on or off.")]
    public string Traffic { get; init; } = "on";

    /// <summary>Actions per second at the busiest hour of a working day.</summary>
    [ConfigurationKeyName("DEMO_TRAFFIC_RATE"), Range(0.01, 200)]
    public double TrafficRate { get; init; } = 2;

    /// <summary>The same seed makes the same decisions in the same order. 0: another one at every start.</summary>
    [ConfigurationKeyName("DEMO_TRAFFIC_SEED")]
    public int TrafficSeed { get; init; }

    /// <summary>People who have an account at the start; as many again may register later.</summary>
    [ConfigurationKeyName("DEMO_TRAFFIC_PEOPLE"), Range(1, 2_000)]
    public int TrafficPeople { get; init; } = 40;

    /// <summary>Seconds from the start to the first brute-force burst.</summary>
    [ConfigurationKeyName("DEMO_FIRST_BURST_SECONDS"), Range(0, 86_400)]
    public double FirstBurstSeconds { get; init; } = 12;

    /// <summary>Minutes between two bursts, on average.</summary>
    [ConfigurationKeyName("DEMO_BURST_MINUTES"), Range(0.01, 10_000)]
    public double BurstMinutes { get; init; } = 8;

    /// <summary>Minutes between two outages of a dependency, on average; also before the first.</summary>
    [ConfigurationKeyName("DEMO_OUTAGE_MINUTES"), Range(0.01, 10_000)]
    public double OutageMinutes { get; init; } = 25;

    /// <summary>How long a dependency stays away.</summary>
    [ConfigurationKeyName("DEMO_OUTAGE_SECONDS"), Range(1, 3_600)]
    public int OutageSeconds { get; init; } = 60;

    /// <summary>PBKDF2-SHA256 rounds for one password. Fewer make the demo cheaper and its (invented) passwords weaker.</summary>
    [ConfigurationKeyName("DEMO_PASSWORD_ROUNDS"), Range(1_000, 10_000_000)]
    public int PasswordRounds { get; init; } = 100_000;

    /// <summary>Accounts kept in memory; more are refused.</summary>
    [ConfigurationKeyName("DEMO_MAX_ACCOUNTS"), Range(1, 1_000_000)]
    public int MaxAccounts { get; init; } = 10_000;

    /// <summary>Sessions and second-factor challenges kept in memory; the oldest end first.</summary>
    [ConfigurationKeyName("DEMO_MAX_SESSIONS"), Range(10, 1_000_000)]
    public int MaxSessions { get; init; } = 20_000;

    /// <summary>Password of the built-in administrator <c>admin</c>. Unset: a random one, known to the traffic generator only.</summary>
    [ConfigurationKeyName("DEMO_ADMIN_PASSWORD"), MinLength(10)]
    public string AdminPassword { get; init; } = Convert.ToHexStringLower(System.Security.Cryptography.RandomNumberGenerator.GetBytes(16));
}

public static class DemoOptionsRegistration
{
    public static void AddDemoOptions(this IHostApplicationBuilder builder)
    {
        builder.Services.AddOptions<DemoOptions>().Bind(builder.Configuration).ValidateDataAnnotations().ValidateOnStart();
        builder.Services.AddSingleton(provider => provider.GetRequiredService<IOptions<DemoOptions>>().Value);
    }
}
