using System.Text.Json.Serialization;

namespace Platform.Alerting.OnCall;

public enum TargetType
{
    User,
    Schedule,
    Channel,
}

/// <summary>Who is told: a person, whoever is on call by a schedule, or a channel.</summary>
public sealed record EscalationTarget(TargetType Type, string Name)
{
    public override string ToString() => $"{Type.ToString().ToLowerInvariant()} {Name}";
}

/// <param name="EscalateAfterSeconds">So long these people have to acknowledge; then comes the next step.</param>
public sealed record EscalationStep(IReadOnlyList<EscalationTarget> Targets, int EscalateAfterSeconds);

/// <summary>Who is told when nobody reacts: step after step, and all of them again, until somebody acknowledges or it is over.</summary>
/// <param name="Repeat">How often the steps are gone through again after the first time.</param>
public sealed record EscalationPolicy(string Name, string Description, IReadOnlyList<EscalationStep> Steps, int Repeat)
{
    /// <summary>Steps in all rounds together.</summary>
    [JsonIgnore]
    public int Count => Steps.Count * (Repeat + 1);

    /// <param name="number">Number of a step, counted through all rounds, from 0.</param>
    public EscalationStep this[int number] => Steps[number % Steps.Count];

    /// <summary>Why the step is taken, in words.</summary>
    public string Reason(int number)
    {
        var place = $"step {number % Steps.Count + 1} of {Steps.Count}{(number < Steps.Count ? "" : $", round {number / Steps.Count + 1} of {Repeat + 1}")}";
        return number == 0 ? $"first notification by the escalation policy {Name}, {place}" : $"escalated: nobody acknowledged within {Words.Of(Wait(number - 1))}, {place}";
    }

    /// <summary>How long the people of this step have.</summary>
    public TimeSpan Wait(int number) => TimeSpan.FromSeconds(this[number].EscalateAfterSeconds);
}
